"""What `predict` tells of each scan that it reads, and of a mask that is empty."""

import sys
from pathlib import Path

import numpy as np
from jaxtyping import Real

from jaxmeta.data.grid import Grid, sliced_shape, spacing
from jaxmeta.data.scan import Scale
from jaxmeta.inference.scan import Reading
from jaxmeta.progress import say

AIR = -900.0  # HU: no CT of a whole body is without air, and no MR reaches so far below zero
TWICE = 2.0  # how much larger or smaller a pixel may be than any that the run learned from


def lowest(values: Real[np.ndarray, "..."], scale: Scale) -> float:
    """Give the least real value of a scan's numbers, whose slope may be negative."""
    ends = values.min(), values.max()
    return min(scale.slope * float(end) + scale.intercept for end in ends)


def described_reading(
    path: Path,
    grid: Grid,
    reading: Reading,
    seen: tuple[float, float],
    trained: tuple[float, ...] = (),
    by: str = "to the network",
) -> str:
    """Say how a file is read: as what, cut how, and how large pixels are to what answers."""
    count, height, width = sliced_shape(grid)
    apart, *own = spacing(grid)
    text = (
        f"read {path}: {reading.modality}, {count} {grid.axis} slices of {height} x {width} "
        f"pixels, {apart:.3g} mm apart; {millimeters(own)} a pixel, {millimeters(seen)} {by}"
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
