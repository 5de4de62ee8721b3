"""Whether a CT volume's numbers are Hounsfield units, as far as its histogram can tell.

Every CT goes through one window (-160 to 240 HU), so a volume in other units - stored with an
offset, scaled to 0..1 or 0..255, z-scored - shows a network nothing of the body, and nothing
breaks. Nobody can prove from voxels that numbers are HU; what can be seen is that a window shows
nothing, or what no scan in HU has: much that is thinner than air (below -1000), soft tissue's
narrow peak at 1024, air's where none is, or air and tissue a tenth as far apart as they are.

Thresholds stand far from scans in HU (crops, bone, contrast, noise, padding, clipped ranges; shares
below are of the voxels that are neither the most frequent value nor the least, which pad) and from
the same scans in other units: `tests/data/test_hounsfield.py` has both. Between them are gaps by
choice: a body scaled to 0..100 looks like a brain without its skull, an offset of some hundred HU
is not seen where no air is about the body, and an MR of positive numbers may look like a CT that
was cut at 0.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

LEAST_SHOWN = (
    0.01  # least share inside of the window: a whole trunk in HU has .6, a bone .9, -1024 none
)
SPREAD = 20.0  # HU from the 0.5 to the 99.5 percentile; noise alone has more, a z-score has 7
NO_MATTER = -1200.0  # air is -1000, and noise reaches below: 2 % of it where that is 100 HU
THIN = 0.05  # most that may lie below that: the rim of padding (-3024) that was interpolated
TISSUE = (824.0, 1174.0)  # fat to muscle, where 1024 was added
PEAK = 0.5  # of what lies above the window, most that may be there: bone has .06, +1024 .9
PEAK_ALONE = 0.25  # the same, where no voxel is below 0, as fat and air are in a scan in HU
BRIGHT = 0.1  # and the least share above the window for that to be asked
METAL = 3071.0  # the most that 12 bits hold of HU; more is metal's, and that is little
AIRLESS = (-800.0, -160.0)  # where no air is: lung's peak lies about -830, and is wide
FAT_TO_MUSCLE = (850.0, 1150.0)  # fat to muscle, from air
SHARP = 0.02  # of how far it is from tissue: a quarter of air is within .009, of lung within .07
CLOSE = 160.0  # from fat to muscle it is 150
WATER = 0.13  # of air's distance from 0, most of tissue's: fat has .1 and muscle .05
SMOOTH = 5.0  # HU that hold a quarter of tissue; 17 and more in a scan of a body
OFFSETS = (-1024, 1024, -8192, -32768)  # added to unsigned numbers, subtracted twice, and so on


def unseen(
    value: Float[np.ndarray, " L"],
    count: Integer[np.ndarray, " L"],
    window: tuple[float, float],
    *,
    sure: bool = False,
) -> str | None:
    """Say why a window shows nothing of the body in a CT with this histogram, or None.

    `sure` where a user says what the units are: then a range that is a picture's is no reason.
    """
    held = np.flatnonzero(count)
    held = held[np.argsort(value[held])]
    value, count = value[held], count[held].astype(np.float64)
    least, most = float(value.min()), float(value.max())
    body = count.copy()
    body[[np.argmax(count), np.argmin(value)]] = 0
    if body.sum() == 0:  # two values: a drawing, of which nothing can be told
        body = count
    body = body / body.sum()
    ends = np.searchsorted(np.cumsum(body), (0.005, 0.995 - 1e-9)).clip(max=len(value) - 1)
    low, high = value[ends]
    start, end = window

    def share(of) -> float:
        return float(body[of].sum())

    seen, above = share((value > start) & (value < end)), share(value > end)
    reach = f"its values reach from {least:.4g} to {most:.4g}"
    if seen < LEAST_SHOWN:
        return f"{seen:.1%} of its voxels lie inside, and {reach}"
    if high - low < SPREAD and most - least < 5 * SPREAD:
        return f"99 % of its voxels lie within {high - low:.2g} of each other, and {reach}"
    if share(value < NO_MATTER) > THIN:
        return f"{share(value < NO_MATTER):.0%} of its voxels are below air (-1000 HU), and {reach}"
    tissue = share((value > TISSUE[0]) & (value < TISSUE[1]))
    alone = share(value < 0) < 0.001
    if above > BRIGHT and tissue > (PEAK_ALONE if alone else PEAK) * above:
        return f"{tissue:.0%} of its voxels lie where HU + 1024 has soft tissue, and {reach}"
    if above > 0.5 and alone and _narrow(value, body * (value > end)):
        return f"{above:.0%} of its voxels lie above, none below 0, and {reach}"
    metal = share(value > METAL)
    if above > BRIGHT and metal > PEAK * above:
        return f"{metal:.0%} of its voxels lie above all but metal ({METAL:.0f} HU), and {reach}"
    if told := _air(value, body) or _air(value, count):
        return f"{told}, and {reach}"
    two = _two(value, body)
    if two and two.apart < CLOSE and abs(two.tissue) < -WATER * two.air and two.smooth < SMOOTH:
        return f"its air lies about {two.air:.4g}, {two.apart:.0f} from tissue, and {reach}"
    whole = bool((value == np.rint(value)).all())
    if not sure and whole and (least, most) == (-128, 127):
        return f"{reach}, as a picture's of 8 bits do (of HU cut there say `rescale=1,0`)"
    if not sure and 0 <= least < 50 and 150 < most <= 255:
        return f"{reach}, as a picture's do (of HU cut at 0 and 255 say `rescale=1,0`)"
    return None


def _narrow(value, body):
    """Say whether half of what is counted is one peak, as soft tissue is and bone is not."""
    below = np.cumsum(body) / body.sum()
    first, middle, last = value[np.searchsorted(below, (0.25, 0.5, 0.75))]
    return last - first < 0.2 * middle


class Two(NamedTuple):
    """A dark peak and a bright one, if these are air and tissue: where, and what holds a quarter of
    each."""

    air: float
    tissue: float
    sharp: float  # of the air
    smooth: float  # of the tissue

    @property
    def apart(self) -> float:
        return self.tissue - self.air


def _two(value, body):
    """Part a histogram where the variance between is largest (Otsu 1979); None where it is mostly
    within."""
    below, moment = np.cumsum(body) / body.sum(), np.cumsum(body * value) / body.sum()
    mean = moment[-1]
    spread = float((body * (value - mean) ** 2).sum() / body.sum())
    inside = (below > 0.03) & (below < 0.97)
    if not inside.any() or spread == 0:
        return None
    room = np.where(inside, below * (1 - below), 1)
    between = np.where(inside, (mean * below - moment) ** 2 / room, 0)
    cut = int(between.argmax()) + 1
    if between[cut - 1] < 0.75 * spread:
        return None
    (air, sharp), (tissue, smooth) = (
        _peak(value[side], body[side]) for side in (slice(cut), slice(cut, None))
    )
    return Two(air, tissue, sharp, smooth)


def _peak(value, body):
    """Find the shortest range that holds a quarter of all: (its middle, its length)."""
    below = np.cumsum(body) / body.sum()
    last = np.searchsorted(below, below - body / body.sum() + 0.25 - 1e-9)
    length = np.where(last < len(value), value[last.clip(max=len(value) - 1)] - value, np.inf)
    first = int(length.argmin())
    return float(value[first] + length[first] / 2), float(length[first])


def _air(value, body):
    """Say that air's sharp peak lies where no air is, as far below tissue as air does; else
    nothing."""
    two = _two(value, body)
    if (
        two
        and AIRLESS[0] < two.air < AIRLESS[1]
        and FAT_TO_MUSCLE[0] < two.apart < FAT_TO_MUSCLE[1]
    ):
        return f"its air lies about {two.air:.4g}" if two.sharp < SHARP * two.apart else ""
    return ""


def offsets(
    value: Float[np.ndarray, " L"], count: Integer[np.ndarray, " L"], window: tuple[float, float]
) -> list[int]:
    """Name the usual offsets that would bring a volume to HU, as far as `unseen` can tell."""
    there = value[count > 0].min() < NO_MATTER  # else nothing was subtracted: lungs alone, perhaps
    return [
        add for add in OFFSETS if (add < 0 or there) and unseen(value + add, count, window) is None
    ]
