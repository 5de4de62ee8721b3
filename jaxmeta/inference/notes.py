"""What is told of each scan that `predict` reads, and what no run is given in silence.

A mask of nothing at exit code 0 is what a user finds last. What can be seen before is whether the
voxels are of a kind that the run never learned from, and whether its pixels are of another size.
"""

import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from pathlib import Path

from jaxmeta.data.fingerprint import fingerprint
from jaxmeta.data.grid import Grid, from_slices, pixel, sliced_shape, spacing
from jaxmeta.data.scan import Scan
from jaxmeta.errors import BadInput
from jaxmeta.inference.scan import Reading
from jaxmeta.progress import say
from jaxmeta.runs.config import Config
from jaxmeta.runs.provenance import Seen

AIR = -900.0  # HU: no CT of a whole body is without air, and no MR reaches so far below zero
SEGMENTED = "what it makes of it says nothing of new scans"
SEEN_SUPPORT = "the run has seen this support scan"
TWICE = 2.0  # how much larger or smaller a pixel may be than any that the run learned from


def teller(
    run: Path,
    config: Config,
    reading: Reading,
    *,
    modality: str | None = None,
    seen_as: Callable[[Grid], tuple[float, float]] | None = None,
    known: Mapping[str, str] = {},
    supports: Collection[Path] = (),
) -> Callable[[Path, Scan], None]:
    """Make tell(path, scan): prints each file once, warns, and refuses a CT that is taken for
    MR.

    `modality` is what a user said; `seen_as` gives the mm of the network's pixels where slices are
    not resized to `reading.size`; `known` is what `known_scans` says; of `supports` no mask is
    made.
    """
    told = set()
    pixels = seen_as or (lambda grid: pixel(grid, reading.size, reading.mm))
    if modality and config.modality and modality != config.modality:
        warn(
            f"{run} learned from {config.modality} alone: of what it makes of {modality} nothing "
            "is known"
        )

    def tell(path: Path, scan: Scan) -> None:
        if path in told:
            return
        told.add(path)
        grid = scan.geometry
        if modality is None:
            refuse_hounsfield(run, path, scan, reading)
            if text := without_air(run, scan, reading):
                warn(f"{path}: {text}")
        say(described_reading(path, grid, reading, pixels(grid), config.pixels))
        if config.planes and grid.axis not in config.planes:
            warn(
                f"{path}: its slices are {grid.axis}, and {run} learned from "
                f"{' and '.join(config.planes)} ones"
            )
        if known and (text := known.get(fingerprint(from_slices(scan.values, grid), *scan.scale))):
            say(f"note: {path} {text}: {SEEN_SUPPORT if path in supports else SEGMENTED}")
        if text := unlike(pixels(grid), config.pixels):
            warn(f"{path}: {text}")

    return tell


def known_scans(provenance: Iterable[Seen]) -> dict[str, str]:
    """Say of each scan that a run has seen, by its fingerprint, which it is and how it was seen.

    That is told and not refused: a mask is no score.
    """
    return {
        same: f"is {name}, voxel for voxel, which {seen.by} was {seen.how}"
        for seen in reversed([*provenance])  # of several, what came first: trained before chosen
        for same, name in seen.contents.items()
    }


def refuse_hounsfield(run: Path, path: Path, scan: Scan, reading: Reading) -> None:
    """Refuse a file as MR, because all that the run learned from was, where its voxels are those of
    CT."""
    if reading.modality == "mr" and (least := lowest(scan)) <= AIR:
        raise BadInput(
            f"{path}: values down to {least:.0f}, as air has in CT, and {run} learned from MR "
            "alone: give `modality=mr` if it is MR all the same, `modality=ct` to try the run on "
            "CT, or a run that learned from CT"
        )


def lowest(scan: Scan) -> float:
    """Give the least real value of a scan, whose slope may be negative."""
    ends = scan.values.min(), scan.values.max()
    return min(scan.scale.slope * float(end) + scan.scale.intercept for end in ends)


def without_air(run: Path, scan: Scan, reading: Reading) -> str:
    """Say of a file that is read as CT, because all that the run learned from was, that it may be
    MR.

    Air and fat are below 0 in HU. Refused it is not: a CT that was cut at 0 has no value below,
    either.
    """
    if reading.modality != "ct" or reading.rescale:
        return ""
    return (
        ""
        if lowest(scan) < 0
        else (
            "no value is below 0, as in MR and in a CT that was cut at 0; it is read as CT, for "
            f"{run} learned from CT alone: give `modality=ct` if it is CT, or a run that learned "
            "from MR"
        )
    )


def described_reading(
    path: Path,
    grid: Grid,
    reading: Reading,
    seen: tuple[float, float],
    trained: tuple[float, ...] = (),
) -> str:
    """Say how a file is read: as what, cut how, and how large its pixels are to the network."""
    count, height, width = sliced_shape(grid)
    apart, *own = spacing(grid)
    text = (
        f"read {path}: {reading.modality}, {count} {grid.axis} slices of {height} x {width} "
        f"pixels, {apart:.3g} mm apart; {millimeters(own)} a pixel, {millimeters(seen)} to the "
        "network"
    )
    known = dict.fromkeys(f"{end:.3g}" for end in trained)
    return text + (f" (trained at {' to '.join(known)})" if known else "")


def millimeters(sides) -> str:
    """Write the sides of a pixel."""
    return " x ".join(f"{side:.3g}" for side in sides) + " mm"


def unlike(seen: tuple[float, float], trained: tuple[float, ...]) -> str:
    """Say that pixels are more than twice as large, or as small, as any that the run learned
    from."""
    if not trained:
        return ""
    low, high = trained
    if min(seen) * TWICE >= low * (1 - 1e-6) and max(seen) <= high * TWICE * (1 + 1e-6):
        return ""
    return (
        f"a pixel is {millimeters(seen)} to the network, which learned at {low:.3g} to {high:.3g} "
        "mm, so everything looks larger or smaller to it than it knows: crop or resample the scan, "
        "or train with `tasks.spacing`"
    )


def nothing_found(path: Path, what: str, highest: float, overlay: Path) -> str:
    """Say that a mask is empty, and what to look at."""
    return (
        f"no voxel of {what} in {path}: its highest probability is {highest:.2g}, and a voxel "
        f"needs more than 0.5; see {overlay}: is the structure there, and is this scan like those "
        "of the support?"
    )


def warn(text: str) -> None:
    """Print a warning above the bar, where errors go."""
    say(f"warning: {text}", sys.stderr)
