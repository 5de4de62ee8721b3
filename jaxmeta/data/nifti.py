"""Read and write NIfTI volumes, and say in one line what is wrong with a file that cannot be used.

nibabel parses; this file decides what to keep: the numbers as the file stores them where 16 bits
hold them (slope and intercept beside), integer labels, the affine, and the header's own bytes.
"""

import gzip
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Integer

from jaxmeta.data.grid import Grid
from jaxmeta.errors import BadInput
from jaxmeta.files import beside

SUFFIXES = (".nii.gz", ".nii")


class Image(NamedTuple):
    """One volume in the order of its file; real value = slope * values + intercept."""

    values: Integer[np.ndarray, "x y z"]  # int16, or the file's own smaller type
    slope: float
    intercept: float
    affine: np.ndarray  # 4x4, voxel to mm
    header: bytes  # the NIfTI header as it stands in the file


def read_image(path: str | Path, *, nan_to: float | None = None) -> Image:
    """Read a 3-D image; NaN and Inf are refused unless `nan_to` says what to put in their place."""
    return parse_image(Path(path).read_bytes(), path, nan_to=nan_to)


def read_label(path: str | Path) -> Integer[np.ndarray, "x y z"]:
    """Read a 3-D integer label in the order of its file; 0.9999 is rounded, 0.5 refused."""
    return parse_label(Path(path).read_bytes(), path)[0]


def read_pair(
    image: str | Path, label: str | Path, *, nan_to: float | None = None
) -> tuple[Image, Integer[np.ndarray, "x y z"]]:
    """Read an image and its label and check that they lie on the same grid."""
    read = Path(image).read_bytes(), Path(label).read_bytes()
    return parse_pair(*read, image, label, nan_to=nan_to)


def parse_pair(
    image: bytes,
    label: bytes,
    image_path: str | Path,
    label_path: str | Path,
    *,
    nan_to: float | None = None,
) -> tuple[Image, Integer[np.ndarray, "x y z"]]:
    """Do what `read_pair` does with the files' bytes in hand; the paths are for messages."""
    scan = parse_image(image, image_path, nan_to=nan_to)
    mask, affine = parse_label(label, label_path)
    if scan.values.shape != mask.shape:
        raise BadInput(
            f"{label_path}: its shape {mask.shape} differs from that of its image {image_path}, "
            f"{scan.values.shape}; resample one of them"
        )
    if not np.allclose(scan.affine, affine, atol=1e-3):
        off = np.abs(scan.affine - affine).max()
        raise BadInput(
            f"{label_path}: its affine differs from that of its image {image_path} by up to "
            f"{off:.3g} mm (limit 0.001); resample one of them or mend the header"
        )
    return scan, mask


def parse_image(data: bytes, path: str | Path, *, nan_to: float | None = None) -> Image:
    """Do what `read_image` does with the file's bytes in hand; `path` is for messages."""
    raw, slope, intercept, volume = _open(data, path)
    fill = None if nan_to is None else (nan_to - intercept) / slope
    if raw.dtype.kind == "f" and not np.isfinite(raw).all():
        bad = ~np.isfinite(raw)
        if fill is None:
            raise BadInput(
                f"{path}: {bad.sum()} voxels are NaN or Inf; fill them with --nan-to VALUE"
            )
        raw = np.where(bad, raw.dtype.type(fill), raw)
    values, step, offset = quantise(raw)
    affine, header = volume.affine, volume.header.binaryblock
    return Image(values, slope * step, slope * offset + intercept, affine, header)


def parse_label(data: bytes, path: str | Path) -> tuple[Integer[np.ndarray, "x y z"], np.ndarray]:
    """Do what `read_label` does with the file's bytes in hand; give the affine too."""
    raw, slope, intercept, volume = _open(data, path)
    if (slope, intercept) != (1.0, 0.0):
        raw = raw * slope + intercept
    if raw.dtype.kind == "f":
        rounded = np.rint(raw)
        far = ~(np.abs(raw - rounded) < 1e-2)  # NaN is far from everything
        if far.any():
            raise BadInput(
                f"{path}: a label of integers was expected, but a voxel holds "
                f"{raw[far].flat[0]:g}; give a label map, not a probability"
            )
        raw = rounded.astype(np.int32)
    if raw.size and raw.min() < 0:
        raise BadInput(f"{path}: label value {raw.min()} is negative; structures count from 1")
    return raw, volume.affine


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
    bulk = np.percentile(values[..., :: max(1, values.shape[-1] // 16)], (0.5, 99.5))
    span = float(bulk[1] - bulk[0])
    if 0 < span * 64 < high - low:
        low, high = max(low, bulk[0] - 8 * span), min(high, bulk[1] + 8 * span)
    slope = (high - low) / 65535
    levels = np.rint((np.clip(values, low, high) - low) / slope) - 32768
    return levels.astype(np.int16), float(slope), float(low + 32768 * slope)


def save_mask(path: str | Path, mask: Integer[np.ndarray, "x y z"], grid: Grid) -> None:
    """Save a label map on the grid of its image: same affine, codes, units and zooms.

    Written beside and renamed, so that a mask that is there is whole; the bytes are a function of
    the arguments alone.
    """
    path = Path(path)
    kind = nib.Nifti1Header if len(grid.header) == 348 else nib.Nifti2Header
    header = kind(grid.header)
    dtype = np.uint8 if mask.max(initial=0) < 256 else np.uint16
    header.set_data_dtype(dtype)  # else the mask would be written in the image's type
    header.set_slope_inter(1, 0)
    header["cal_min"] = header["cal_max"] = 0
    volume = nib.Nifti1Image if kind is nib.Nifti1Header else nib.Nifti2Image
    data = volume(mask.astype(dtype), grid.affine, header).to_bytes()
    if path.name.endswith(".gz"):
        data = gzip.compress(data, compresslevel=4, mtime=0)
    with beside(path) as part:
        part.write_bytes(data)


def case_stem(path: str | Path) -> str:
    """Give the file's name without .nii or .nii.gz."""
    name = Path(path).name
    for suffix in SUFFIXES:
        if name.endswith(suffix):
            return name[: -len(suffix)]
    raise BadInput(f"{path}: not a NIfTI file by its name; .nii.gz and .nii are read")


def _inflate(data):
    """Decompress in one go: with room for the size that the trailer tells, a third faster."""
    size = int.from_bytes(data[-4:], "little")
    try:
        whole = zlib.decompress(data, 31, max(1, min(size, 1032 * len(data))))
    except zlib.error:
        return gzip.decompress(data)  # several members, or an error to be named
    return whole if len(whole) % 2**32 == size else gzip.decompress(data)


def _open(data, path):
    """Parse the bytes of a file: its unscaled 3-D array, slope, intercept and nibabel image."""
    if str(path).endswith(".gz"):
        if data[:2] != b"\x1f\x8b":
            raise BadInput(f"{path}: is not a gzip file although its name ends in .gz")
        try:
            data = _inflate(data)
        except (EOFError, OSError, zlib.error) as error:
            raise BadInput(f"{path}: truncated or damaged gzip ({error}); copy it again") from None
    kind = nib.Nifti2Image if data[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Image
    try:
        with silent(nib.imageglobals.logger):  # what is wrong is said below, in one line
            volume = kind.from_bytes(data)
        raw = np.asarray(volume.dataobj.get_unscaled())
        affine = volume.affine
    except (
        nib.filebasedimages.ImageFileError,
        nib.spatialimages.HeaderDataError,
        nib.wrapstruct.WrapStructError,
    ) as error:
        raise BadInput(f"{path}: not a NIfTI file ({error})") from None
    except (OSError, ValueError) as error:
        said = str(error).split("\n")[0]
        raise BadInput(f"{path}: truncated or damaged ({said}); copy it again") from None
    if raw.ndim != 3 and (raw.ndim < 3 or set(raw.shape[3:]) != {1}):
        raise BadInput(
            f"{path}: has {raw.ndim} dimensions {raw.shape}; only 3-D volumes are read, split it"
        )
    if raw.dtype.kind not in "iuf" or 0 in raw.shape:
        raise BadInput(f"{path}: voxels of type {raw.dtype} and shape {raw.shape} are not read")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise BadInput(f"{path}: its affine is singular or not finite; mend the header")
    slope, intercept = float(volume.dataobj.slope), float(volume.dataobj.inter)
    return raw.reshape(raw.shape[:3]), slope, intercept, volume


@contextmanager
def silent(logger: logging.Logger) -> Iterator[None]:
    """Keep a logger from saying anything for a while."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
