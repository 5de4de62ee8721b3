"""Read and write NIfTI volumes, and say in one line what is wrong with a file that cannot be used.

`nifti_bytes.py` parses; this file decides what to keep: the numbers as the file stores them where
16 bits hold them (slope and intercept beside), integer labels, the affine, and the header's own
bytes.
"""

import gzip
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Float, Integer

from jaxmeta.data.channels import channel_count, chosen
from jaxmeta.data.formats.nifti_bytes import read_raw
from jaxmeta.data.grid import Grid
from jaxmeta.data.names import gzipped
from jaxmeta.data.placement import Note, agreement, displacement
from jaxmeta.errors import BadInput
from jaxmeta.files import beside

MANY = 200  # values that no label has of an image with fewer


class Image(NamedTuple):
    """One volume in the order of its file; real value = slope * values + intercept."""

    values: Integer[np.ndarray, "x y z"]  # int16, or the file's own smaller type
    slope: float
    intercept: float
    affine: np.ndarray  # 4x4, voxel to mm
    header: bytes  # the NIfTI header as it stands in the file, but of three dimensions
    notes: tuple[Note, ...] = ()  # what is odd about the file, or about its label's


def read_image(
    path: str | Path,
    *,
    fill_nan: float | None = None,
    channel: int | None = None,
    channels: Sequence[str] = (),
) -> Image:
    """Read a 3-D image, or one channel of an image that holds several.

    NaN and Inf are refused unless `nan_to` says what to put in their place. `channels` are the
    names that the data set declares, for the message where a choice is missing.
    """
    raw = read_raw(path, lambda shape: chosen(shape, channel, channels, path))
    values = raw.values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = ~np.isfinite(values)
        if fill_nan is None:
            raise BadInput(
                f"{path}: {bad.sum()} voxels are NaN or Inf; fill them with --fill-nan VALUE"
            )
        fill = (fill_nan - raw.intercept) / raw.slope
        values = np.where(bad, values.dtype.type(fill), values)
    values, step, offset = quantise(values)
    slope, intercept = raw.slope * step, raw.slope * offset + raw.intercept
    return Image(values, slope, intercept, raw.affine, raw.header, raw.notes)


def rescaled(image: Image, scale: tuple[float, float] | None) -> Image:
    """Bring an image to the units that a user told as (slope, intercept) of its real values."""
    if scale is None:
        return image
    slope, intercept = scale
    return image._replace(slope=slope * image.slope, intercept=slope * image.intercept + intercept)


def read_label(path: str | Path) -> Integer[np.ndarray, "x y z"]:
    """Read a 3-D integer label in the order of its file; 0.9999 is rounded, 0.5 refused."""
    return _label(path)[0]


def read_pair(
    image: str | Path, label: str | Path, **told
) -> tuple[Image, Integer[np.ndarray, "x y z"]]:
    """Read an image, told as `read_image` is, and its label; the image has the notes of both."""
    scan = read_image(image, **told)
    mask, notes = read_label_of(scan, image, label)
    return scan._replace(notes=scan.notes + notes), mask


def read_label_of(
    scan: Image, image_path: str | Path, label_path: str | Path
) -> tuple[Integer[np.ndarray, "x y z"], tuple[Note, ...]]:
    """Read a label of an image that is read already; refuse one whose voxels lie elsewhere.

    That is half a voxel or more at the corner that is farthest off; less is noted, rounding is not.
    """
    mask, affine = _label(label_path)
    if scan.values.shape != mask.shape:
        raise BadInput(
            f"{label_path}: its shape {mask.shape} differs from that of its image {image_path}, "
            f"{scan.values.shape}; resample one of them"
        )
    if int(mask.max()) >= MANY and len(np.unique(scan.values)) < MANY <= len(np.unique(mask)):
        raise BadInput(
            f"{label_path}: has {len(np.unique(mask))} values, and its image {image_path} "
            f"{len(np.unique(scan.values))}: they seem to be swapped"
        )
    mm = displacement(scan.affine, affine, mask.shape)
    verdict = agreement(mm, scan.affine)
    said = (
        f"its affine differs from that of its image {image_path} by up to {mm:.3g} mm at a corner"
    )
    if verdict == "refused":
        raise BadInput(
            f"{label_path}: {said}, half a voxel or more; resample one of them or mend the header"
        )
    told = f"{label_path}: {said}, less than half a voxel; it is read as lying on its image"
    return mask, (Note("label", told),) if verdict == "told" else ()


def _label(path):
    """Read a label: (its integers, its affine)."""

    def single(shape):
        if channel_count(shape) > 1:
            raise BadInput(
                f"{path}: a label of {channel_count(shape)} channels {shape} is not read; give one "
                "3-D map of integers, a value for each structure"
            )
        return 0

    values, slope, intercept, affine, *_ = read_raw(path, single)
    if (slope, intercept) != (1.0, 0.0):
        values = values * slope + intercept
    if values.dtype.kind == "f":
        rounded = np.rint(values)
        far = ~(np.abs(values - rounded) < 1e-2)  # NaN is far from everything
        if far.any():
            raise BadInput(
                f"{path}: a label of integers was expected, but a voxel holds "
                f"{values[far].flat[0]:g}; give a label map, not a probability"
            )
        values = rounded.astype(np.int32)
    if values.size and values.min() < 0:
        raise BadInput(f"{path}: label value {values.min()} is negative; structures count from 1")
    return values, affine


def quantise(
    values: np.ndarray,
) -> tuple[Integer[np.ndarray, "..."], float, float]:
    """Hold an array in at most 16 bits: (stored, slope, intercept), exactly where 16 bits suffice.

    Integers whose range fits are kept (shifted if they must be); other numbers are spread linearly
    over the 65,536 levels. If a few wild voxels would leave the bulk with less than 1,024 levels,
    they are clipped to eight times the bulk's own range.
    """
    if values.dtype in (np.uint8, np.int8, np.int16):
        return values, 1.0, 0.0
    low, high = (float(values.min()), float(values.max())) if values.size else (0.0, 0.0)
    whole = values.dtype.kind in "iub" or bool((np.rint(values) == values).all())
    if whole and -32768 <= low and high <= 32767:
        return values.astype(np.int16), 1.0, 0.0
    if whole and high - low <= 65535 and abs(low) < 2**53:
        return (values.astype(np.int64) - int(low + 32768)).astype(np.int16), 1.0, low + 32768
    some = values[..., :: max(1, values.shape[-1] // 16)].astype(np.float64)
    bulk = np.percentile(some, (0.5, 99.5))
    span = float(bulk[1] - bulk[0])
    if 0 < span * 64 < high - low:
        low, high = max(low, bulk[0] - 8 * span), min(high, bulk[1] + 8 * span)
    slope = (high - low) / 65535
    order = "F" if values.flags.f_contiguous else "C"
    flat = values.ravel(order)
    levels = np.empty(flat.size, np.int16)
    for start in range(0, flat.size, 1 << 15):  # in 64 bits, that a copy in 32 has the same levels
        chunk = np.clip(flat[start : start + (1 << 15)].astype(np.float64), low, high)
        levels[start : start + (1 << 15)] = np.rint((chunk - low) / (slope or 1.0)) - 32768
    return levels.reshape(values.shape, order=order), float(slope), float(low + 32768 * slope)


def save_mask(path: str | Path, mask: Integer[np.ndarray, "x y z"], grid: Grid) -> None:
    """Save a label map on the grid of its image: same affine, codes, units and zooms.

    Written beside and renamed, so that a mask that is there is whole; the bytes are a function of
    the arguments alone.
    """
    save(Path(path), mask.astype(np.uint8 if mask.max(initial=0) < 256 else np.uint16), grid)


def save_probability(path: str | Path, values: Float[np.ndarray, "x y z"], grid: Grid) -> None:
    """Save a map from 0 to 1 likewise, as float32."""
    save(Path(path), values.astype(np.float32), grid)


def save(path: Path, values: np.ndarray, grid: Grid) -> None:
    """Write a volume with the geometry of another, in its own unit, and numbers of its own."""
    kind = nib.Nifti1Header if len(grid.header) == 348 else nib.Nifti2Header
    header = kind(grid.header)
    header.set_data_dtype(values.dtype)  # else they would be written in the image's type
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    volume = nib.Nifti1Image if kind is nib.Nifti1Header else nib.Nifti2Image
    data = volume(values, header.get_best_affine(), header).to_bytes()
    if gzipped(path):
        data = gzip.compress(data, compresslevel=4, mtime=0)
    with beside(path) as part:
        part.write_bytes(data)
