"""Load slices and masks of prepared volumes: whatever depends on taste (window, size, spacing)
happens here."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Real, UInt8

from jaxmeta.data.grid import sliced_shape
from jaxmeta.data.masks import decode_mask
from jaxmeta.data.scan import Scan
from jaxmeta.data.shards.records import read_record
from jaxmeta.data.shards.shards import Shards, Volume
from jaxmeta.errors import BadInput


@dataclass(frozen=True)
class Records:
    """The slices of a prepared volume, [N, H, W] as stored, which are read when asked for."""

    row: Volume

    def __len__(self) -> int:
        return sliced_shape(self.row.grid)[0]

    def __getitem__(self, slices: Sequence[int] | np.ndarray) -> Real[np.ndarray, "n H W"]:
        row, stored = self.row, self.row.stored
        native = np.empty((len(slices), *_plane(row, slices)), stored.dtype)
        for plane, number in zip(native, slices):
            if _reversed(row):
                number = len(self) - 1 - number
            record = read_record(stored.files, stored.firsts, stored.image + int(number))
            whole = _as_stored(plane, row)
            whole[:] = np.frombuffer(record, stored.dtype).reshape(whole.shape)
        return native


def scan_in(shards: Shards, volume: int) -> Scan:
    """Give a prepared volume as what it was when it was read from its file."""
    row = shards.volumes[volume]
    return Scan(Records(row), row.stored.scale, row.grid, row.intensity)


def load_images(
    shards: Shards,
    volume: int,
    slices: Sequence[int] | np.ndarray,
    *,
    size: int,
    spacing: float | None = None,
) -> Float32[np.ndarray, "N S S 1"]:
    """Read slices of a volume as a network sees them: squares of `size` pixels, each `spacing` mm
    wide or, None, stretched to the square.

    Raises IndexError for a slice that is not there, BadInput where a file of records is gone.
    """
    return shards.preprocessing.images(scan_in(shards, volume), slices, size, spacing)


def load_masks(
    shards: Shards,
    volume: int,
    slices: Sequence[int] | np.ndarray,
    structure: str,
    *,
    size: int | None = None,
    spacing: float | None = None,
) -> UInt8[np.ndarray, "N H W"]:
    """Read one structure's masks: at native size, or on the square that `load_images` gives.

    Raises BadInput for a structure that the volume has no labels of, IndexError as that does.
    """
    row = shards.volumes[volume]
    if structure not in row.stored.masks:
        raise BadInput(f"{row.name} has no labels of {structure}")
    records = row.stored.masks[structure]
    native = np.zeros((len(slices), *_plane(row, slices)), np.uint8)
    for plane, number in zip(native, slices):
        if records[number] >= 0:
            record = read_record(row.stored.files, row.stored.firsts, int(records[number]))
            top, left, crop = decode_mask(record)
            whole = _as_stored(plane, row)
            whole[top : top + crop.shape[0], left : left + crop.shape[1]] = crop
    if size is None:
        return native
    return shards.preprocessing.masks(native, size, row.grid, spacing=spacing)


def _as_stored(plane, row):
    """View a slice as its record has it: rows, columns and their directions."""
    if row.stored.order is None:
        return plane
    (files, flips), (shown, turned) = row.stored.order, row.grid.order
    crossed = files[1] != shown[1]
    theirs = (flips[2], flips[1]) if crossed else flips[1:]
    axes = [axis for axis in (0, 1) if theirs[axis] != turned[1 + axis]]
    view = np.flip(plane, axes)
    return view.T if crossed else view


def _reversed(row):
    """Tell whether slices are shown from the last record to the first."""
    return row.stored.order is not None and row.stored.order[1][0] != row.grid.order[1][0]


def _plane(row, slices):
    """Give a slice's height and width, having checked that the slices exist."""
    total, height, width = sliced_shape(row.grid)
    for number in slices:
        if not 0 <= number < total:
            raise IndexError(f"{row.name} has slices 0 to {total - 1}, not {number}")
    return height, width
