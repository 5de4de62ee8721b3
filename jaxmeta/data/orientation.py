"""Which of a file's axes are slices, rows and columns, and which way each of them runs.

Two questions are kept apart. *Across which axis was the volume acquired?* is asked of the voxels
alone: slices lie apart by a distance of their own, so the axis whose spacing differs from the two
others' is the one that counts them, however the patient or the scanner's plane was turned. *How is
a slice shown?* is asked of space. A frame is three unit vectors, along which slices, rows and
columns run; a volume is shown with its axes ordered and flipped to lie as near to a frame as they
can. The frames of anatomy are

    plane       slices run to   rows run to   columns run to
    axial       head (S)        right (R)     front (A)
    coronal     back (P)        right (R)     head (S)
    sagittal    right (R)       front (A)     head (S)

so that a file stored in any of the 48 orientations gives the same slices; in each (row, column,
slice) is right-handed. Stacks that lie between two planes, as short axes of hearts do, would be
shown now as one and now as the other. So a data set has a frame of its own (`planes.py`): that of
the volume in its middle. Flips and permutations only: the way back is exact.
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
AXIS_RULES = (ACQUIRED, "axial", "coronal", "sagittal")  # by which a data set's slices are chosen
ALIKE = 1.1  # spacings whose ratio is below this agree: such a volume has no slices of its own
OBLIQUE = 0.5  # cosine: slices more than 60 degrees off a frame's have little to do with it
# Unit vectors of RAS space along which slices, rows and columns run.
FRAMES = {
    "axial": np.array([[0.0, 0, 1], [1, 0, 0], [0, 1, 0]]),
    "coronal": np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]),
    "sagittal": np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]),
}

Affine = Float[np.ndarray, "4 4"]
Frame = Float[np.ndarray, "3 3"]
# For slices, rows and columns: the file's axis, and whether it is flipped.
Order = tuple[tuple[int, int, int], tuple[bool, bool, bool]]


def slice_axis(shape: Sequence[int], affine: Affine, rule: str) -> int:
    """Say which axis of a file counts its slices, by a rule of `RULES`.

    A plane's name is the axis nearest to its normal. "acquired" is the axis whose spacing differs
    from the two others', of three that differ the one farther from the middle one; a single slice
    is one whatever its thickness; a volume of equal spacings is cut axially.
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


def plane_of(shape: Sequence[int], affine: Affine, rule: str) -> str:
    """Name the anatomical plane that a volume's slices are nearest to."""
    if rule != ACQUIRED:
        return rule
    return nearest_plane(_directions(affine)[:, slice_axis(shape, affine, rule)])


def nearest_plane(normal: Float[np.ndarray, " 3"]) -> str:
    """Name the anatomical plane whose normal is nearest to a direction, or to its opposite."""
    return max(FRAMES, key=lambda plane: round(float(abs(FRAMES[plane][0] @ normal)), 6))


def own_frame(shape: Sequence[int], affine: Affine, rule: str) -> Frame:
    """Give the frame of a volume that is shown as the anatomical plane it is nearest to."""
    plane = FRAMES[plane_of(shape, affine, rule)]
    return frame_of(affine, order_of(affine, plane, slice_axis(shape, affine, rule)))


def frame_of(affine: Affine, order: Order) -> Frame:
    """Give the directions along which slices, rows and columns of a volume run as it is shown."""
    files, flips = order
    signs = np.where(flips, -1.0, 1.0)
    return (_directions(affine)[:, list(files)] * signs).T


def nearest_frame(
    shape: Sequence[int], affine: Affine, rule: str, known: Sequence[Frame]
) -> tuple[Frame, bool]:
    """Choose, of the `known` frames, the one in which to show a volume: (the frame, whether it
    fits).

    Where the slices of none are within 60 degrees of the volume's, it is shown as its own, and does
    not fit. By a rule that names a plane that plane is the frame.
    """
    if rule != ACQUIRED:
        named = FRAMES[rule]
        return named, not known or any(nearest_plane(frame[0]) == rule for frame in known)
    if not known:
        return own_frame(shape, affine, rule), True
    across, directions = slice_axis(shape, affine, rule), _directions(affine)

    def near(frame: Frame) -> tuple[float, float]:
        shown = frame_of(affine, order_of(affine, frame, across))
        return round(float(abs(frame[0] @ directions[:, across])), 6), float((frame * shown).sum())

    best = max(known, key=near)
    fits = near(best)[0] >= OBLIQUE
    return (best if fits else own_frame(shape, affine, rule)), fits


def common_frame(frames: Sequence[Frame]) -> Frame:
    """Take the frame in the middle: of those in the plane of most, the one nearest to all others'
    slices."""
    planes = [nearest_plane(frame[0]) for frame in frames]
    counts = Counter(planes)
    most = max(FRAMES, key=lambda plane: counts[plane])
    normals = np.stack([frame[0] for frame in frames])
    central = np.abs(normals @ normals.T).sum(1).round(6)
    central[[plane != most for plane in planes]] = -1
    return frames[int(np.argmax(central))]


def order_of(affine: Affine, frame: Frame, across: int) -> Order:
    """Order and flip a file's axes to lie as near to a frame as they can, `across` counting the
    slices."""
    return _order(
        *(np.ascontiguousarray(each, np.float64).tobytes() for each in (affine, frame)), across
    )


@lru_cache(maxsize=4096)
def _order(affine: bytes, frame: bytes, across: int) -> Order:
    directions = _directions(np.frombuffer(affine).reshape(4, 4))
    along = np.frombuffer(frame).reshape(3, 3) @ directions  # [slices, rows, columns] x file axes
    orders = [order for order in permutations(range(3)) if order[0] == across]
    files = max(orders, key=lambda order: round(sum(abs(along[n, order[n]]) for n in (1, 2)), 6))
    return files, tuple(bool(along[n, files[n]] < 0) for n in range(3))


def frame_to_text(frame: Frame) -> str:
    """Write a frame as nine numbers, for a configuration."""
    return " ".join(f"{value + 0.0:.3g}" for value in np.round(frame, 3).ravel())


def frames_from_text(texts: Iterable[str]) -> list[Frame]:
    """Read frames back."""
    return [np.array(text.split(), np.float64).reshape(3, 3) for text in texts]


def _nearest(affine, plane):
    """The file axis nearest to a plane's normal, no two planes having the same."""
    nearest = io_orientation(affine)[:, 0]
    return int(np.flatnonzero(nearest == AXES.index(plane))[0])


def _directions(affine):
    """Unit vectors in space, a column for each file axis."""
    return affine[:3, :3] / voxel_sizes(affine)
