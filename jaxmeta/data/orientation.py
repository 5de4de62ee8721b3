"""Which of a file's axes are slices, rows and columns, and which way each of them runs.

Two questions are kept apart. *Across which axis was the volume acquired?* is asked of the voxels alone:
slices lie apart by a distance of their own, so the axis whose spacing differs from the two others' is
the one that counts them, however the patient or the scanner's plane was turned. *How is a slice shown?*
is asked of space: rows and columns run as in the anatomical plane that the slices are nearest to,

    plane       slices run to   rows run to   columns run to
    axial       head (S)        right (R)     front (A)
    coronal     back (P)        right (R)     head (S)
    sagittal    right (R)       front (A)     head (S)

so that a file stored in any of the 48 orientations gives the same slices. In every plane (row, column,
slice) is right-handed; therefore planes that meet at 45 degrees, as short-axis stacks of the heart do,
agree about which way is which. Flips and permutations only: the way back is exact.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import permutations

import numpy as np
from jaxtyping import Float
from nibabel.affines import voxel_sizes
from nibabel.orientations import io_orientation

AXES = ("sagittal", "coronal", "axial")  # whose slices count along the canonical RAS axis 0, 1, 2
ACQUIRED = "acquired"
RULES = (ACQUIRED, "axial", "coronal", "sagittal")  # by which a data set's slices are chosen
ALIKE = 1.1  # spacings whose ratio is below this agree: such a volume has no slices of its own
OBLIQUE = 0.5  # cosine: a normal more than 60 degrees off a plane's has little to do with it
# Unit vectors of RAS space along which slices, rows and columns run.
FRAMES = {
    "axial": np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "coronal": np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    "sagittal": np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1]]),
}

Order = tuple[tuple[int, int, int], tuple[bool, bool, bool]]


def slice_axis(shape: Sequence[int], affine: Float[np.ndarray, "4 4"], rule: str) -> int:
    """Say which axis of a file counts its slices, by a rule of `RULES`.

    A plane's name is the axis nearest to its normal. "acquired" is the axis whose spacing differs from
    the two others', of three that differ the one farther from the middle one; a single slice is one
    whatever its thickness; a volume of equal spacings is cut axially.
    """
    if rule != ACQUIRED:
        return _nearest(affine, rule)
    single = [axis for axis in range(3) if shape[axis] == 1]
    if len(single) == 1:
        return single[0]
    sizes = voxel_sizes(affine)
    small, middle, large = np.argsort(sizes, kind="stable")
    below, above = sizes[middle] / sizes[small], sizes[large] / sizes[middle]
    if max(below, above) < ALIKE:
        return _nearest(affine, "axial")
    return int(large if above >= below else small)


def plane_of(shape: Sequence[int], affine: Float[np.ndarray, "4 4"], rule: str) -> str:
    """Name the anatomical plane that a volume's slices are nearest to."""
    if rule != ACQUIRED:
        return rule
    normal = _directions(affine)[:, slice_axis(shape, affine, rule)]
    return max(FRAMES, key=lambda plane: round(abs(FRAMES[plane][0] @ normal), 6))


def nearest_plane(
    shape: Sequence[int], affine: Float[np.ndarray, "4 4"], rule: str, known: Iterable[str]
) -> tuple[str, bool]:
    """Choose, of the `known` planes, the one in which to show a volume: (the plane, whether it fits).

    Where none is within 60 degrees of the volume's slices, its own plane is named, and does not fit.
    """
    own = plane_of(shape, affine, rule)
    if rule != ACQUIRED:
        return own, own in known or not known
    normal = _directions(affine)[:, slice_axis(shape, affine, rule)]
    near = {plane: abs(FRAMES[plane][0] @ normal) for plane in known}
    best = max(near, key=lambda plane: (round(near[plane], 6), plane == own), default=own)
    fits = bool(near.get(best, 1.0) >= OBLIQUE)
    return (best if fits else own), fits


def common_plane(planes: Iterable[str]) -> str:
    """Take the plane of most volumes: the one convention in which a data set's slices are shown.

    Short-axis stacks of one study lie between two planes, some nearer to one, some to the other.
    """
    counts = Counter(planes)
    return max(FRAMES, key=lambda plane: counts[plane])


def order_of(affine: Float[np.ndarray, "4 4"], plane: str, across: int | None = None) -> Order:
    """Say which file axes are slices, rows and columns as a plane shows them, and which are flipped.

    `across` is the axis that counts the slices, without it the one nearest to the plane's normal. Rows
    and columns are the two others in the order that agrees better with the plane's.
    """
    return _order(np.ascontiguousarray(affine, np.float64).tobytes(), plane, across)


@lru_cache(maxsize=4096)
def _order(affine: bytes, plane: str, across: int | None) -> Order:
    matrix = np.frombuffer(affine).reshape(4, 4)
    across = _nearest(matrix, plane) if across is None else across
    along = FRAMES[plane] @ _directions(matrix)  # [slices, rows, columns] x file axes
    orders = [order for order in permutations(range(3)) if order[0] == across]
    files = max(orders, key=lambda order: round(sum(abs(along[n, order[n]]) for n in (1, 2)), 6))
    return files, tuple(bool(along[n, files[n]] < 0) for n in range(3))


def _nearest(affine, plane):
    """The file axis nearest to a plane's normal, no two planes having the same."""
    nearest = io_orientation(affine)[:, 0]
    return int(np.flatnonzero(nearest == AXES.index(plane))[0])


def _directions(affine):
    """Unit vectors in space, a column for each file axis."""
    return affine[:3, :3] / voxel_sizes(affine)
