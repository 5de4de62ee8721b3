"""The bytes of a NIfTI file: what they hold, or in one line why they cannot be used.

nibabel parses them. Files are read whole, for most are compressed; of an image with several
channels only the one that is asked for becomes an array.
"""

import gzip
import io
import math
import zlib
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Float, Shaped
from nibabel.fileslice import fileslice

from jaxmeta.data.channels import channel_count
from jaxmeta.data.names import gzipped
from jaxmeta.data.placement import Note, header_notes, in_mm
from jaxmeta.errors import BadInput, silent

NOT_NIFTI = (
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    nib.wrapstruct.WrapStructError,
)


class Raw(NamedTuple):
    """What a file stores of one channel; real value = slope * values + intercept."""

    values: Shaped[np.ndarray, "x y z"]  # in the file's own type
    slope: float
    intercept: float
    affine: np.ndarray  # 4x4, voxel to mm, whatever the file's unit
    header: bytes  # the file's own, of three dimensions
    notes: tuple[Note, ...] = ()  # what is odd about where the voxels lie


def read_raw(path: str | Path, choose: Callable[[tuple[int, ...]], int]) -> Raw:
    """Read one channel of a file; `choose` gives its number for the shape of the whole."""
    data = _inflated(Path(path).read_bytes(), path)
    with _told(path):
        volume = _kind(data).from_bytes(data)
        affine, shape, stored = in_mm(volume.affine, volume.header), volume.shape, volume.dataobj
    if len(shape) < 3 or sum(length > 1 for length in shape[3:]) > 1:
        raise BadInput(
            f"{path}: has {len(shape)} dimensions {shape}; only 3-D volumes and channels of them "
            "are read, split it"
        )
    if stored.dtype.names:
        raise BadInput(
            f"{path}: its voxels are colors ({', '.join(stored.dtype.names)}); save one grey "
            "value a voxel"
        )
    if stored.dtype.kind not in "iuf" or 0 in shape:
        raise BadInput(f"{path}: voxels of type {stored.dtype} and shape {shape} are not read")
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-12:
        raise BadInput(f"{path}: its affine is singular or not finite; mend the header")
    number = choose(shape)
    with _told(path):
        values = _channel(stored, data, number)
        notes = header_notes(volume.header, affine, shape, path)
    return Raw(values, float(stored.slope), float(stored.inter), affine, _header(volume), notes)


def shape_of(path: str | Path) -> tuple[int, ...]:
    """Read a shape from a file's first bytes; () where reading it all will say what is wrong."""
    header = _first_bytes(path)
    return () if header is None else header.get_data_shape()


def placed_of(path: str | Path) -> tuple[tuple[int, ...], Float[np.ndarray, "4 4"]] | None:
    """Read a volume's three sides and its affine likewise; None where reading it all will say what
    is wrong."""
    if (header := _first_bytes(path)) is None:
        return None
    shape, affine = header.get_data_shape(), header.get_best_affine()
    usable = np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) >= 1e-12
    return (shape[:3], affine) if len(shape) >= 3 and usable else None


def _first_bytes(path):
    """Parse a header alone; None where it is none."""
    try:
        with (gzip.open if gzipped(path) else open)(path, "rb") as file:
            start = file.read(540)
        kind = _kind(start).header_class
        with silent(nib.imageglobals.logger):
            return kind(start[: kind.template_dtype.itemsize])
    except (*NOT_NIFTI, OSError, EOFError, ValueError, zlib.error):
        return None


def _inflated(data, path):
    """Decompress in one go: with room for the size that the trailer tells, a third faster."""
    if not gzipped(path):
        return data
    if data[:2] != b"\x1f\x8b":
        raise BadInput(f"{path}: is not a gzip file although its name ends in .gz")
    size = int.from_bytes(data[-4:], "little")
    try:
        try:
            whole = zlib.decompress(data, 31, max(1, min(size, 1032 * len(data))))
        except zlib.error:
            return gzip.decompress(data)  # several members, or an error to be named
        return whole if len(whole) % 2**32 == size else gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise BadInput(f"{path}: truncated or damaged gzip ({error}); copy it again") from None


def _channel(stored, data, number):
    """Read one channel as it is stored, and no other."""
    shape = stored.shape
    if channel_count(shape) == 1:
        return np.asarray(stored.get_unscaled()).reshape(shape[:3])
    if stored.offset + math.prod(shape) * stored.dtype.itemsize > len(data):
        raise OSError("it ends before its last channel")
    places = (number if length > 1 else 0 for length in shape[3:])
    slicer = (slice(None), slice(None), slice(None), *places)
    return fileslice(io.BytesIO(data), slicer, shape, stored.dtype, stored.offset, order="F")


def _header(volume):
    """Give the header's bytes, of several dimensions those that are true of one channel."""
    if len(volume.shape) == 3:
        return volume.header.binaryblock
    header = volume.header.copy()
    header.set_data_shape(volume.shape[:3])
    header.set_intent("none")  # no vector and no time series any more
    return header.binaryblock


def _kind(data):
    """Tell NIfTI-2 from NIfTI-1 by the first bytes, in either byte order."""
    return nib.Nifti2Image if data[:4] in (b"\x1c\x02\0\0", b"\0\0\x02\x1c") else nib.Nifti1Image


@contextmanager
def _told(path):
    """Turn what nibabel raises, and would log, into one line."""
    try:
        with silent(nib.imageglobals.logger):
            yield
    except NOT_NIFTI as error:
        raise BadInput(f"{path}: not a NIfTI file ({error})") from None
    except (OSError, ValueError) as error:
        said = str(error).split("\n")[0]
        raise BadInput(f"{path}: truncated or damaged ({said}); copy it again") from None
