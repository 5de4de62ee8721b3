"""What was found in one volume, and how it is saved, told and shown."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from jaxmeta.data.formats.formats import case_stem
from jaxmeta.data.formats.nifti import save_mask, save_probability
from jaxmeta.data.grid import Grid, from_slices, spacing
from jaxmeta.inference.notes import nothing_found
from jaxmeta.progress import say
from jaxmeta.reports import figures


class FoundVolume(NamedTuple):
    """The structures of one volume, in its slices at their own size."""

    image: Path
    grid: Grid
    slices: Float[np.ndarray, "N H W"]  # normalized, to be looked at
    values: tuple[int, ...]  # that the structures have in the mask
    labels: Integer[np.ndarray, "N H W"]
    highest: tuple[float, ...]  # probability of each structure
    probabilities: Iterable[Float[np.ndarray, "N H W"]]  # of each structure; may be made when read


def mask_of(found: FoundVolume) -> Integer[np.ndarray, "x y z"]:
    """Turn the labels back to the array of the volume's file."""
    kind = np.uint8 if found.labels.max(initial=0) < 256 else np.uint16
    return np.ascontiguousarray(from_slices(found.labels.astype(kind), found.grid))


def save_found(
    path: Path, found: FoundVolume, overlay: Path, *, probabilities: bool = False
) -> None:
    """Save the mask, each structure's probability where they are wanted, and say how large they
    are, or that nothing was found."""
    labels, values, grid = found.labels, found.values, found.grid
    save_mask(path, mask_of(found), grid)
    for value, each in zip(values, found.probabilities if probabilities else ()):
        beside = path.with_name(f"{path.name.removesuffix('.nii.gz')}_prob_{value}.nii.gz")
        save_probability(beside, from_slices(each, grid), grid)
    voxel = np.prod(spacing(grid)) / 1000
    counts = [int((labels == value).sum()) for value in values]
    for value, count in zip(values, counts, strict=True):
        of = f", label {value}" if len(values) > 1 else ""
        say(f"{path}{of}: {count} voxels, {count * voxel:.1f} ml")
    for value, count, most in zip(values, counts, found.highest, strict=True):
        if not count:
            what = f"label {value}" if len(values) > 1 else "the structure"
            say(nothing_found(found.image, what, most, overlay))


def pictures(found: FoundVolume) -> Sequence[figures.Picture]:
    """Show of each structure the slice, counted from 0, with most of it."""
    several = len(found.values) > 1
    return [shown_structure(found, value, several=several) for value in found.values]


def shown_structure(found: FoundVolume, value: int, *, several: bool) -> figures.Picture:
    """Show one structure."""
    mask = found.labels == value
    number = int(mask.sum((1, 2)).argmax())
    label = f", label {value}" if several else ""
    title = f"{case_stem(found.image)}, slice {number}{label}"
    nothing = np.zeros_like(mask[0])
    sides = spacing(found.grid)[1:]
    return figures.Picture(title, found.slices[number], nothing, mask[number], sides)
