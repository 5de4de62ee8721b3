"""What bounds a mask: points, and how much of the surface each stands for.

Two notions are in use. `voxel_surface` takes the mask's own outermost voxels, each alike; a thin
plate has as many as it has voxels. `area_surface` takes the cells between voxels, each with the
area that the surface has there; it does not depend on how finely an axis happens to be sampled.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int

from jaxmeta.metrics.areas import CORNERS, cell_areas

Spacing = tuple[float, float, float]


class Surface(NamedTuple):
    """Points in whole voxels from the array's first, and the weight of each."""

    points: Int[np.ndarray, "P 3"]
    weights: Float[np.ndarray, " P"]


def voxel_surface(mask: Bool[np.ndarray, "A B C"], spacing: Spacing) -> Surface:
    """Take the voxels of a mask with a bare one beside a face; outside of the array all is bare."""
    inside, corner = cropped(mask)
    core = inside[1:-1, 1:-1, 1:-1].copy()
    for axis in range(3):
        for shift in (-1, 1):
            window = [slice(1, -1)] * 3
            window[axis] = slice(1 + shift, inside.shape[axis] - 1 + shift)
            core &= inside[tuple(window)]
    points = np.argwhere(inside[1:-1, 1:-1, 1:-1] & ~core) + (corner + 1)
    return Surface(points, np.ones(len(points)))


def area_surface(mask: Bool[np.ndarray, "A B C"], spacing: Spacing) -> Surface:
    """Take the cells of 2x2x2 voxels that are neither full nor bare, with the area inside each."""
    inside, corner = cropped(mask)
    cells = np.zeros([n - 1 for n in inside.shape], np.uint8)
    for a, b, c in np.ndindex(2, 2, 2):
        bit = inside[tuple(slice(i, i + n) for i, n in zip((a, b, c), cells.shape, strict=True))]
        cells |= bit * np.uint8(CORNERS[a, b, c])
    mixed = (cells > 0) & (cells < 255)
    return Surface(np.argwhere(mixed) + corner, cell_areas(spacing)[cells[mixed]])


def cropped(mask: Bool[np.ndarray, "A B C"]) -> tuple[Bool[np.ndarray, "a b c"], np.ndarray]:
    """Cut out what a mask fills with one bare voxel around; also say where the cut begins."""
    filled = [np.flatnonzero(mask.any(tuple({0, 1, 2} - {axis}))) for axis in range(3)]
    if not len(filled[0]):
        return np.zeros((2, 2, 2), bool), np.zeros(3, int)
    low = np.array([at[0] for at in filled])
    return np.pad(mask[tuple(slice(at[0], at[-1] + 1) for at in filled)], 1), low - 1
