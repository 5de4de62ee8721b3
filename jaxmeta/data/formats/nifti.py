"""NIfTI: what the bytes of a file hold, or in one line why they cannot be used; and masks saved.

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

import nibabel as nib
import numpy as np
from jaxtyping import Float, Integer
from nibabel.fileslice import fileslice

from jaxmeta.data.channels import channel_count
from jaxmeta.data.formats.reader import Head, Raw, Reader
from jaxmeta.data.grid import Grid
from jaxmeta.data.placement import header_notes, in_mm, invertible
from jaxmeta.errors import BadInput, silent
from jaxmeta.files import beside, read_bytes

NOT_NIFTI = (
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    nib.wrapstruct.WrapStructError,
)


def read(path: str | Path, choose: Callable[[tuple[int, ...]], int]) -> Raw:
    """Read one channel of a file; `choose` gives its number for the shape of the whole.

    Raises BadInput for a file that is damaged, of colors, without a usable affine, or not of 3-D
    channels.
    """
    data = _inflated(read_bytes(path), path)
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
    if not invertible(affine):
        raise BadInput(f"{path}: its affine is singular or not finite; mend the header")
    number = choose(shape)
    with _told(path):
        values = _channel(stored, data, number)
        notes = header_notes(volume.header, affine, shape, path)
    return Raw(values, float(stored.slope), float(stored.inter), affine, _header(volume), notes)


def head(path: str | Path) -> Head | None:
    """Parse a header alone; None where it is none."""
    try:
        with (gzip.open if gzipped(path) else open)(path, "rb") as file:
            start = file.read(540)
        kind = _kind(start).header_class
        with silent(nib.imageglobals.logger):
            header = kind(start[: kind.template_dtype.itemsize])
    except (*NOT_NIFTI, OSError, EOFError, ValueError, zlib.error):
        return None
    try:
        affine = in_mm(header.get_best_affine(), header)
    except (*NOT_NIFTI, ValueError):  # a qform that is no rotation
        affine = np.full((4, 4), np.nan)
    return Head(header.get_data_shape(), affine)


NIFTI = Reader("NIfTI", read, head)


def header_for(shape: tuple[int, int, int], affine: Float[np.ndarray, "4 4"]) -> bytes:
    """Make the header of a volume that another format stored, for `Raw.header`.

    `affine` is voxel to mm; its code says that it is the scanner's own.
    """
    header = nib.Nifti1Header()
    header.set_data_shape(shape)
    header.set_xyzt_units("mm")
    header.set_zooms(nib.affines.voxel_sizes(affine))
    header.set_qform(affine, code="scanner")
    header.set_sform(affine, code="scanner")
    return header.binaryblock


def gzipped(path: str | Path) -> bool:
    """Tell whether a file is called as compressed ones are."""
    return Path(path).name.lower().endswith(".gz")


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


def save_mask(path: str | Path, mask: Integer[np.ndarray, "x y z"], grid: Grid) -> None:
    """Save a label map, whole numbers from 0 to 65535, on the grid of its image: same affine,
    codes, units and zooms.

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
