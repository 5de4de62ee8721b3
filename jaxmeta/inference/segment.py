"""Masks of one's own volumes in a notebook: what the command `predict` makes, as arrays.

    from jaxmeta.inference import segment
    masks = segment("runs/belly", ["new.nii.gz"], [("scan.nii.gz", "labels.nii.gz", 3)], shots=5)

Files and arrays go one way: an array is written to a temporary file first, so that it is checked,
read and cut as a file is.
"""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal, NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Integer, Shaped

from jaxmeta.data.formats.image import placed_of
from jaxmeta.errors import BadInput
from jaxmeta.inference.found import mask_of
from jaxmeta.inference.options import Options
from jaxmeta.inference.predict import saved, segmented


class Volume(NamedTuple):
    """Voxels, and where they lie."""

    values: Shaped[np.ndarray, "x y z"]
    affine: np.ndarray | Sequence[float]
    """4 x 4, from voxels to millimeters (right, anterior, superior), as nibabel has it; or the
    three millimeters of a voxel, where the axes run that way."""


File = str | Path
Labelled = str | tuple[File | Volume, File | Volume | np.ndarray] | tuple  # ..., and a value


def segment(
    run: File | None,
    images: Sequence[File | Volume],
    support: Sequence[Labelled] = (),
    *,
    structures: Sequence[int] = (),
    shots: int = 0,
    support_sets: int = 1,
    modality: Literal["auto", "ct", "mr"] = "auto",
    axis: Literal["auto", "acquired", "axial", "coronal", "sagittal"] = "auto",
    channel: str = "auto",
    fill_nan: Literal["refuse"] | float = "refuse",
    rescale: Sequence[str] = (),
    largest_component: bool = False,
    seed: int = 0,
    output: File | None = None,
) -> list[Integer[np.ndarray, "x y z"]]:
    """Adapt a run once to the support, and give a mask for each image, in its own voxels.

    Without a run (None) nothing was trained: the support alone says where the structure is. A run
    that has learned an organ from labelled patients needs no support.

    Each entry of `support` is (image, label) or (image, label, value), or the command's text
    "IMAGE:LABEL:VALUE"; images are files or `Volume`s, and a label may also be an array of its
    image's voxels. The other arguments are the options of `predict`. Nothing is written, unless
    `output` names a folder: then what `predict` writes.

    Raises BadInput, in one line, for what cannot be used.
    """
    if isinstance(images, str | Path | Volume):
        images = (images,)
    with TemporaryDirectory() as folder:
        scratch = Path(folder)
        options = Options(
            run="none" if run is None else Path(run),
            image=tuple(filed(image, scratch / f"image_{n}.nii") for n, image in enumerate(images)),
            output=scratch if output is None else Path(output),
            support=tuple(
                support_text(one, scratch / f"support_{n}") for n, one in enumerate(support)
            ),
            structures=tuple(structures),
            shots=shots,
            support_sets=support_sets,
            modality=modality,
            axis=axis,
            channel=channel,
            fill_nan=fill_nan,
            rescale=tuple(rescale),
            largest_component=largest_component,
            seed=seed,
        )
        if output is None:
            return [mask_of(found) for found in segmented(options)]
        return [mask_of(found) for _, found in saved(options)]


def support_text(labelled: Labelled, place: Path) -> str:
    """Write a labelled volume as the command's `support`, its arrays as files beside `place`."""
    if isinstance(labelled, str):
        return labelled
    image, label, *value = labelled
    if isinstance(label, np.ndarray):
        affine = image.affine if isinstance(image, Volume) else _affine_of(image)
        label = Volume(label, affine)
    files = [
        filed(volume, place.with_name(f"{place.name}_{what}.nii"))
        for volume, what in ((image, "image"), (label, "label"))
    ]
    return ":".join(map(str, [*files, *value]))


def _affine_of(image):
    """Read where an image's voxels lie; of one that cannot be read its reading says why."""
    placed = placed_of(image)
    return np.eye(4) if placed is None else placed[1]


def filed(volume: File | Volume, path: Path) -> Path:
    """Give the file of a volume; that of an array is written now, its numbers as they are."""
    if not isinstance(volume, Volume):
        return Path(volume)
    values, affine = np.asarray(volume.values), np.asarray(volume.affine, float)
    if affine.shape not in ((3,), (4, 4)):
        raise BadInput(f"affine of shape {affine.shape}: give 4 x 4 numbers, or 3 millimeters")
    if affine.shape == (3,):
        affine = np.diag([*affine, 1.0])
    if values.dtype == bool:
        values = values.astype(np.uint8)
    elif values.dtype.kind in "iu" and values.dtype.itemsize == 8:  # which few programs read
        fits = np.abs(values).max(initial=0) < 2**31
        values = values.astype(np.int32 if fits else np.float64)
    elif values.dtype == np.float16:
        values = values.astype(np.float32)
    image = nib.Nifti1Image(values, affine, dtype=values.dtype)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path
