"""A volume's geometry and the way back to it.

A scan is stored in whatever orientation its scanner liked. Everything after this file sees slices
`[N, H, W]` whose rows and columns run as `orientation.py` says, so an axial slice is `[right,
front]` (`np.rot90` of any slice shows it upright). Flips and permutations are exact and so is their
inverse. Only the in-plane resize interpolates, always with pixel centers aligned:

    x_in = (n_in - 1) / 2 + step (x_out - (n_out - 1) / 2)

where step = n_in / n_out stretches the slice to the square, or step = mm out / mm in keeps physical
size and crops or pads at the center.
"""

import base64
from functools import lru_cache
from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Float32, Real, Shaped, UInt8
from scipy.sparse import csr_array

from jaxmeta.data.orientation import (
    ACQUIRED,
    FRAMES,
    Frame,
    Order,
    frame_of,
    nearest_plane,
    order_of,
    own_frame,
    slice_axis,
)


class Grid(NamedTuple):
    """Where a volume's voxels are, as its own file says, and how it is cut into slices."""

    shape: tuple[int, int, int]  # of the file's own array
    affine: np.ndarray  # the file's own 4x4, voxel to mm
    header: bytes  # the file's own header: codes, units and zooms of every mask saved for it
    axis: str  # "axial", "coronal" or "sagittal": the plane as which its slices are shown
    order: Order | None = None  # how its axes are ordered and flipped; None: as the plane has them


def grid_by(
    rule: str,
    shape: tuple[int, int, int],
    affine: np.ndarray,
    header: bytes,
    frame: Frame | None = None,
) -> Grid:
    """Cut a volume by a rule: "acquired", shown in a frame or else as its own; or the name of a
    plane."""
    if rule != ACQUIRED:
        return Grid(shape, affine, header, rule)
    frame = own_frame(shape, affine, rule) if frame is None else frame
    order = order_of(affine, frame, slice_axis(shape, affine, rule))
    return Grid(shape, affine, header, nearest_plane(frame[0]), order)


def spacing(grid: Grid) -> tuple[float, float, float]:
    """Give the mm between slices, rows and columns: the order of the sliced array's axes."""
    zooms = nib.affines.voxel_sizes(grid.affine)
    return tuple(float(zooms[axis]) for axis in _order(grid)[0])


def sliced_shape(grid: Grid) -> tuple[int, int, int]:
    """Give the shape [slices, H, W] that `to_slices` makes of the volume."""
    return tuple(grid.shape[axis] for axis in _order(grid)[0])


def to_slices(array: Shaped[np.ndarray, "x y z"], grid: Grid) -> Shaped[np.ndarray, "N H W"]:
    """Turn the file's array to RAS+ and cut it into slices; a view, no voxel is changed."""
    order, flips = _order(grid)
    return np.flip(array.transpose(order), [axis for axis in range(3) if flips[axis]])


def from_slices(slices: Shaped[np.ndarray, "N H W"], grid: Grid) -> Shaped[np.ndarray, "x y z"]:
    """Undo `to_slices` exactly."""
    order, flips = _order(grid)
    flipped = np.flip(slices, [axis for axis in range(3) if flips[axis]])
    return flipped.transpose(np.argsort(order))


def to_sliced(voxel: tuple[int, int, int], grid: Grid) -> tuple[int, int, int]:
    """Say where a voxel of the file's array lies in the sliced one: its slice, row and column."""
    order, flips = _order(grid)
    return tuple(
        grid.shape[axis] - 1 - voxel[axis] if flipped else voxel[axis]
        for axis, flipped in zip(order, flips, strict=True)
    )


def _order(grid: Grid) -> Order:
    """For each axis of the sliced array: which axis of the file it is, and whether it is
    flipped."""
    if grid.order is not None:
        return grid.order
    across = slice_axis(grid.shape, grid.affine, grid.axis)
    return order_of(grid.affine, FRAMES[grid.axis], across)


def shown_frame(grid: Grid) -> Frame:
    """Give the directions in space along which slices, rows and columns run."""
    return frame_of(grid.affine, _order(grid))


def resize_image(
    slices: Float32[np.ndarray, "N H W"],
    size: int,
    grid: Grid,
    *,
    spacing: float | None = None,
    fill: float = 0.0,
) -> Float32[np.ndarray, "N S S"]:
    """Resize each slice to a square: linear, and averaging over what a larger pixel covers.

    Without `spacing` the whole slice is stretched to the square; with it a pixel is `spacing` mm
    wide and what the square cannot show is cropped, what the slice does not reach is `fill`.
    """
    _, height, width = slices.shape
    steps = _steps(grid, (height, width), size, spacing)
    if fill:
        return resample(slices - np.float32(fill), (size, size), steps) + np.float32(fill)
    return resample(slices, (size, size), steps)


def resize_mask(
    slices: UInt8[np.ndarray, "N H W"], size: int, grid: Grid, *, spacing: float | None = None
) -> UInt8[np.ndarray, "N S S"]:
    """Resize binary slices: a pixel belongs to the structure if at least half of what it covers
    does.

    That is the nearest label where pixels grow smaller. Where they grow larger, picking the nearest
    pixel moves a mask by half a pixel at every even factor and loses thin parts; the half does not.
    """
    resized = resize_image(slices.astype(np.float32), size, grid, spacing=spacing)
    return (resized > 0.5 - 1e-4).astype(np.uint8)  # float32 weights round


def restore(
    probability: Real[np.ndarray, "N S S"], grid: Grid, *, spacing: float | None = None
) -> Float32[np.ndarray, "N H W"]:
    """Bring square predictions back to the volume's own in-plane size, linearly; threshold
    there."""
    plane = sliced_shape(grid)[1:]
    steps = _steps(grid, plane, probability.shape[1], spacing)
    return resample(probability.astype(np.float32), plane, tuple(1 / step for step in steps))


def resample(
    slices: Float32[np.ndarray, "N h w"], plane: tuple[int, int], steps: tuple[float, float]
) -> Float32[np.ndarray, "N H W"]:
    """Resample each slice X to R X Cᵀ, with R and C sparse: a pixel is made of a few."""
    rows, columns = map(weights, slices.shape[1:], plane, steps)
    result = np.empty((len(slices), *plane), np.float32)
    for old, new in zip(slices, result):
        new[:] = (columns @ (rows @ old).T).T
    return result


def pixel(grid: Grid, size: int, wanted: float | None = None) -> tuple[float, float]:
    """Give the mm of a pixel, along rows' axis and columns', once a slice is resized to a square of
    `size`."""
    steps = _steps(grid, sliced_shape(grid)[1:], size, wanted)
    return tuple(step * own for step, own in zip(steps, spacing(grid)[1:], strict=True))


def _steps(grid, plane, size, wanted):
    if wanted is None:
        return tuple(n / size for n in plane)
    return tuple(wanted / own for own in spacing(grid)[1:])


@lru_cache(maxsize=512)
def weights(n_in: int, n_out: int, step: float) -> csr_array:
    """Make the matrix [n_out, n_in] that resamples one axis: a tent as wide as the larger of the
    two pixels.

    A row sums to 1, or to 0 where the output pixel's center lies outside of the input.
    """
    center = (n_in - 1) / 2 + step * (np.arange(n_out) - (n_out - 1) / 2)
    inside = (center > -0.5 - 1e-6) & (center < n_in - 0.5 + 1e-6)
    center = np.clip(center, 0, n_in - 1)
    distance = np.abs(np.arange(n_in) - center[:, None])
    tent = np.maximum(0, 1 - distance / max(step, 1.0))
    return csr_array((tent / tent.sum(1, keepdims=True) * inside[:, None]).astype(np.float32))


def grid_to_json(grid: Grid) -> dict:
    """Write a grid as JSON values; float64 survives exactly."""
    return {
        "shape": list(grid.shape),
        "affine": [[float(value) for value in row] for row in grid.affine],
        "header": base64.b64encode(grid.header).decode(),
        "axis": grid.axis,
        "order": grid.order,
    }


def grid_from_json(row: dict) -> Grid:
    """Read what `grid_to_json` wrote."""
    header = base64.b64decode(row["header"])
    order = row["order"] and tuple(map(tuple, row["order"]))
    return Grid(tuple(row["shape"]), np.array(row["affine"]), header, row["axis"], order)
