"""From a scanner's numbers to what a network sees: clip to a range, subtract a mean, divide.

CT is in Hounsfield units and gets one fixed window; of a volume in other units, which the window
does not show, `hounsfield.py` tells. MR has no unit: the range is the 0.5 to 99.5 percentiles of
the voxels that differ from the volume's most frequent value (the background), read off a histogram;
zero is an ordinary number, so volumes that are already z-scored survive. All four numbers are in
real units and stored, hence invertible.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Real, Shaped

from jaxmeta.data.formats.image import quantize
from jaxmeta.data.hounsfield import offsets, unseen
from jaxmeta.errors import BadInput, Unseen

MODALITIES = ("ct", "mr")


class Intensity(NamedTuple):
    """The map from real units to a network's input: (clip(x, low, high) - mean) / std."""

    low: float
    high: float
    mean: float
    std: float


CT = Intensity(-160.0, 240.0, 40.0, 100.0)  # level 40, width 400: MedSAM's soft-tissue window


def measure_intensity(
    volume: Shaped[np.ndarray, "..."],
    modality: str,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
    sure: bool = False,
) -> Intensity:
    """Choose the range of a volume whose real value is slope * volume + intercept.

    Raises `Unseen` for a CT of which the window shows nothing; `sure` where a user told its units.
    """
    stored, step, offset = quantize(volume)
    slope, intercept = slope * step, slope * offset + intercept
    first, count = histogram(stored)
    if modality == "ct":
        told = slope * (first + np.arange(len(count))) + intercept, count, CT[:2]
        why = unseen(*told, sure=sure)
        if why is not None:
            raise Unseen(_not_shown(why, offsets(*told), sure))
        return CT
    count[np.argmax(count)] = 0
    total = count.sum()
    if total == 0:
        raise BadInput(f"every voxel has the value {slope * first + intercept:g}")
    value = slope * (first + np.arange(len(count))) + intercept
    if slope < 0:
        value, count = value[::-1], count[::-1]
    below = np.cumsum(count)
    low, high = (value[np.searchsorted(below, share * total)] for share in (0.005, 0.995))
    seen = np.clip(value, low, high)
    mean = float((count * seen).sum() / total)
    std = float(np.sqrt((count * (seen - mean) ** 2).sum() / total))
    if std == 0:  # one value but for stray voxels: show it against the background
        low, high, std = value[0], value[-1], value[-1] - value[0]
    return Intensity(float(low), float(high), mean, float(std))


def _not_shown(why, likely, sure):
    """Word what is wrong with a CT of which the window shows nothing, and what to give."""
    example = f"1,{likely[0]}" if likely else "SLOPE,INTERCEPT"
    way = "another `rescale`, or none," if sure else f"`rescale={example}`"
    return (
        f"is not in HU{' by its `rescale`' * sure}, or the CT window ({CT.low:g} to {CT.high:g} "
        f"HU) shows nothing of its body: {why}; give {way} (SLOPE x value + INTERCEPT is HU), or "
        "`modality=mr` for a window by percentiles"
    )


def ends(intensity: Intensity) -> tuple[float, float]:
    """Say what a network sees of a window's lower and its upper end."""
    low, high, mean, std = intensity
    return (low - mean) / std, (high - mean) / std


def histogram(stored: Shaped[np.ndarray, "..."]) -> tuple[int, np.ndarray]:
    """Count every stored integer: (the least one, counts from it upward)."""
    first = int(stored.min())
    length = int(stored.max()) - first + 1
    flat = stored.ravel(order="K")
    count = np.zeros(length, np.int64)
    for start in range(0, flat.size, 1 << 17):  # widened to 64 bits this still fits a cache
        chunk = flat[start : start + (1 << 17)].astype(np.int64)
        count += np.bincount(chunk - first, minlength=length)
    return first, count


def clip(
    slices: Real[np.ndarray, "N H W"], intensity: Intensity, slope: float, intercept: float
) -> Float[np.ndarray, "N H W"]:
    """Cut stored numbers at both ends of a window; they stay stored numbers."""
    ends = sorted((end - intercept) / slope for end in intensity[:2])
    clipped = slices.astype(np.float32)
    return np.clip(clipped, *np.float32(ends), out=clipped)


def normalize(
    clipped: Float[np.ndarray, "N H W"], intensity: Intensity, slope: float, intercept: float
) -> Float[np.ndarray, "N H W 1"]:
    """Turn stored numbers to units of a window's spread around its mean."""
    scale, shift = slope / intensity.std, (intercept - intensity.mean) / intensity.std
    return (clipped * np.float32(scale) + np.float32(shift))[..., None]
