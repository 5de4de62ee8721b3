"""Read volumes of any format, and say in one line what is wrong with a file that cannot be used.

A format's `Reader` parses; this file decides what to keep: the numbers as the file stores them
where 16 bits hold them (slope and intercept beside), integer labels, the affine, and a header's
bytes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer

from jaxmeta.data.channels import channel_count, chosen
from jaxmeta.data.formats.formats import reader_of
from jaxmeta.data.placement import Note, agreement, displacement, invertible
from jaxmeta.errors import BadInput

MANY = 200  # values that no label has of an image with fewer


class Image(NamedTuple):
    """One volume in the order of its file; real value = slope * values + intercept."""

    values: Integer[np.ndarray, "x y z"]  # int16, or the file's own smaller type
    slope: float
    intercept: float
    affine: Float[np.ndarray, "4 4"]  # voxel to mm
    header: bytes  # of NIfTI: as it stands in the file, but of three dimensions
    notes: tuple[Note, ...] = ()  # what is odd about the file, or about its label's


def shape_of(path: str | Path) -> tuple[int, ...]:
    """Read a shape from a file's first bytes; () where reading it all will say what is wrong."""
    head = reader_of(path).head(path)
    return () if head is None else head.shape


def placed_of(path: str | Path) -> tuple[tuple[int, ...], Float[np.ndarray, "4 4"]] | None:
    """Read a volume's three sides and its affine (voxel to mm) likewise; None where reading it all
    will say what is wrong."""
    head = reader_of(path).head(path)
    if head is None or len(head.shape) < 3 or not invertible(head.affine):
        return None
    return head.shape[:3], head.affine


def read_image(
    path: str | Path,
    *,
    fill_nan: float | None = None,
    channel: int | None = None,
    channels: Sequence[str] = (),
) -> Image:
    """Read a 3-D image, or one channel of an image that holds several.

    NaN and Inf are refused unless `fill_nan`, in real units, says what to put in their place.
    `channels` are the names that the data set declares, for the message where a choice is missing.
    Raises BadInput, with the file's name, for what cannot be read.
    """
    raw = reader_of(path).read(path, lambda shape: chosen(shape, channel, channels, path))
    values = raw.values
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        bad = ~np.isfinite(values)
        if fill_nan is None:
            raise BadInput(
                f"{path}: {bad.sum()} voxels are NaN or Inf; fill them with `fill_nan=VALUE`"
            )
        fill = (fill_nan - raw.intercept) / raw.slope
        values = np.where(bad, values.dtype.type(fill), values)
    values, step, offset = quantize(values)
    slope, intercept = raw.slope * step, raw.slope * offset + raw.intercept
    return Image(values, slope, intercept, raw.affine, raw.header, raw.notes)


def rescaled(image: Image, scale: tuple[float, float] | None) -> Image:
    """Bring an image to the units that a user told as (slope, intercept) of its real values."""
    if scale is None:
        return image
    slope, intercept = scale
    return image._replace(slope=slope * image.slope, intercept=slope * image.intercept + intercept)


def read_label(path: str | Path) -> Integer[np.ndarray, "x y z"]:
    """Read a 3-D integer label in the order of its file; 0.9999 is rounded.

    Raises BadInput for 0.5, for a negative value and for several channels.
    """
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

    values, slope, intercept, affine, *_ = reader_of(path).read(path, single)
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


def quantize(
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
