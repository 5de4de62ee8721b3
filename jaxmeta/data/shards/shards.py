"""Read slice shards: ArrayRecord files of slices, and an index that says where each slice lies.

A prepared folder holds

    index.json                     the format, the options and the list of parts; written last
    acdc-00000-1f2e3d4c.json       a part: its volumes (geometry, intensities, pixel counts of every
                                   structure in every slice), and where their records begin
    acdc-00000-1f2e3d4c.0.array_record     the part's records, cut into files of bounded size

where 1f2e3d4c is a hash of everything that the part was made of. A volume's records are its slices
at native size in the file's own numbers, then the masks, structure by structure, only of slices
that hold it. Whatever depends on taste (window, size, spacing) happens here, at load.

Files are opened when first read, once per process; reading is safe from many threads.
"""

import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, UInt8

from jaxmeta.data.grid import Grid, grid_by, grid_from_json, resize_mask, sliced_shape
from jaxmeta.data.intensity import Intensity, network_input
from jaxmeta.data.masks import decode_mask
from jaxmeta.data.orientation import ACQUIRED, Frame, Order, nearest_frame
from jaxmeta.data.shards.records import read_record
from jaxmeta.data.uint8_slices import uint8_images, uint8_masks
from jaxmeta.errors import BadInput

FORMAT = 2


class Stored(NamedTuple):
    """Where a volume's records are, and how its numbers are stored."""

    files: tuple[str, ...]  # of its part
    firsts: tuple[int, ...]  # number of the first record in each of them
    dtype: str
    slope: float
    intercept: float
    image: int  # record of slice 0
    masks: dict[str, np.ndarray]  # structure -> int32[slices]: its record, -1 where it is empty
    order: Order | None = None  # of axes in the records, where slices are shown otherwise


class Volume(NamedTuple):
    """A row of the index."""

    name: str  # data set / case
    patient: str  # data set / patient
    dataset: str
    modality: str  # "ct" | "mr"
    grid: Grid
    intensity: Intensity
    counts: dict[str, np.ndarray]  # structure -> int32[slices], its pixels at native resolution
    stored: Stored
    channel: str | None = None  # name or number, where the image's file holds several
    pseudo: dict[str, np.ndarray] = {}  # supervoxel -> int32[slices], its pixels
    fingerprint: str = ""  # of its voxels, as `identity.py` makes it
    mask_digests: dict[str, str] = {}  # structure -> digest of its masks, where it has any


class Defaults(NamedTuple):
    """What `prepare_data` was told about loading."""

    size: int
    spacing: float | None
    axis: str  # by which rule of `orientation.py` volumes are cut


class Shards(NamedTuple):
    """One or several prepared folders; plain data, cheap to send to another process."""

    folders: tuple[str, ...]
    volumes: tuple[Volume, ...]
    defaults: Defaults
    table: dict[str, dict[str, list[tuple[int, np.ndarray]]]]  # what `holders` looks up
    uint8: bool = False  # slices come as `uint8_slices.py` makes them


def open_shards(folders: Sequence[str | Path]) -> Shards:
    """Read the indices of prepared folders and make the table of who holds what."""
    folders = [Path(folder) for folder in folders]
    indices = [_index(folder) for folder in folders]
    volumes = tuple(
        volume
        for folder, index in zip(folders, indices)
        for part in index["parts"]
        for volume in _part(folder, part)
    )
    origin = {}
    for folder, index in zip(folders, indices):
        if index["axis"] != indices[0]["axis"]:
            raise BadInput(
                f"{folder}: sliced {index['axis']}, but {folders[0]} {indices[0]['axis']}; prepare "
                "both with the same --axis"
            )
    for number, volume in enumerate(volumes):
        if origin.setdefault(volume.name, number) != number:
            raise BadInput(f"{volume.name} is in two of the folders {', '.join(map(str, folders))}")
    first = indices[0]
    defaults = Defaults(first["size"], first["spacing"], first["axis"])
    return Shards(tuple(map(str, folders)), volumes, defaults, _table(volumes))


def shown_in(shards: Shards, frames: Sequence[Frame]) -> Shards:
    """Show volumes in whichever of these frames is nearest to each, as those are that a run learned
    from.

    Slices are turned when they are read; what no frame fits, and what is cut by a named plane,
    stays.
    """
    rule, volumes = shards.defaults.axis, []
    for volume in shards.volumes:
        grid = volume.grid
        frame, fits = nearest_frame(grid.shape, grid.affine, rule, frames)
        new = grid_by(rule, grid.shape, grid.affine, grid.header, frame) if fits else grid
        volumes.append(_turned(volume, new) if rule == ACQUIRED else volume)
    return shards._replace(volumes=tuple(volumes), table=_table(volumes))


def _turned(volume, grid):
    """Show a volume on a grid that orders and flips its axes otherwise."""
    order = volume.stored.order or volume.grid.order
    stored = volume.stored._replace(order=order)
    if grid.order[1][0] != volume.grid.order[1][0]:  # the last slice is the first
        stored = stored._replace(masks={name: of[::-1] for name, of in stored.masks.items()})
        counts, pseudo = (
            {name: of[::-1] for name, of in those.items()}
            for those in (volume.counts, volume.pseudo)
        )
        volume = volume._replace(counts=counts, pseudo=pseudo)
    return volume._replace(grid=grid, stored=stored)


def _table(volumes):
    """Who holds what: structure -> patient -> [(number of the volume, its slices with the
    structure)]."""
    table = {}
    for number, volume in enumerate(volumes):
        for structure, count in volume.counts.items():
            slices = np.flatnonzero(count).astype(np.int32)
            if len(slices):
                patients = table.setdefault(structure, {})
                patients.setdefault(volume.patient, []).append((number, slices))
    return table


def structures(shards: Shards) -> list[str]:
    """Name every structure that some slice holds."""
    return sorted(shards.table)


def holders(shards: Shards, structure: str) -> dict[str, list[tuple[int, np.ndarray]]]:
    """Say who has a structure: patient -> [(number of the volume, its slices with the
    structure)]."""
    if structure not in shards.table:
        known = ", ".join(structures(shards))
        raise BadInput(f"no structure {structure} in {' '.join(shards.folders)}; known are {known}")
    return shards.table[structure]


def load_images(
    shards: Shards,
    volume: int,
    slices: Sequence[int] | np.ndarray,
    *,
    size: int,
    spacing: float | None = None,
) -> Float32[np.ndarray, "N S S 1"]:
    """Read slices of a volume, windowed, resized to a square and normalized."""
    row = shards.volumes[volume]
    stored = row.stored
    height, width = _plane(row, slices)
    native = np.empty((len(slices), height, width), stored.dtype)
    for plane, number in zip(native, slices):
        if _reversed(row):
            number = sliced_shape(row.grid)[0] - 1 - number
        record = read_record(stored.files, stored.firsts, stored.image + int(number))
        whole = _as_stored(plane, row)
        whole[:] = np.frombuffer(record, stored.dtype).reshape(whole.shape)
    if shards.uint8:
        how = dict(size=size, spacing=spacing, slope=stored.slope)
        return uint8_images(native, row.grid, **how)
    return network_input(
        native,
        row.grid,
        row.intensity,
        size=size,
        spacing=spacing,
        slope=stored.slope,
        intercept=stored.intercept,
    )


def load_masks(
    shards: Shards,
    volume: int,
    slices: Sequence[int] | np.ndarray,
    structure: str,
    *,
    size: int | None = None,
    spacing: float | None = None,
) -> UInt8[np.ndarray, "N H W"]:
    """Read one structure's masks: at native size, or on the square that `load_images` gives."""
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
    resize = uint8_masks if shards.uint8 else resize_mask
    return resize(native, size, row.grid, spacing=spacing)


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


def _index(folder):
    """Read index.json, or say why this folder can not be used."""
    file = folder / "index.json"
    if not file.exists():
        what = "preparation is unfinished, run" if any(folder.glob("*.array_record")) else "run"
        raise BadInput(f"{folder}: not a folder of shards; {what} prepare_data --output {folder}")
    try:
        index = json.loads(file.read_text("utf-8"))
        version = index["format"]
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{file}: not an index of shards; run prepare_data again") from None
    if version != FORMAT:
        raise BadInput(
            f"{folder}: shards of format {version}, this program reads format {FORMAT}; run "
            "prepare_data again"
        )
    return index


def _part(folder, name):
    """Read the volumes of one part."""
    file = folder / f"{name}.json"
    if not file.exists():
        raise BadInput(f"{file}: is in the index but not there; run prepare_data again")
    part = json.loads(file.read_text("utf-8"))
    files = tuple(str(folder / row["name"]) for row in part["files"])
    firsts = tuple(row["first"] for row in part["files"])
    return [_volume(row, files, firsts) for row in part["volumes"]]


def _volume(row, files, firsts):
    grid = grid_from_json(row["grid"])
    total = sliced_shape(grid)[0]
    counts, masks = {}, {}
    pseudo = row.get("pseudo", {})
    for structure, (start, first, pixels) in (row["structures"] | pseudo).items():
        count = np.zeros(total, np.int32)
        count[start : start + len(pixels)] = pixels
        counts[structure] = count
        rank = np.cumsum(count > 0) - 1
        masks[structure] = np.where(count > 0, first + rank, -1).astype(np.int32)
    stored = Stored(
        files, firsts, row["dtype"], row["slope"], row["intercept"], row["image"], masks
    )
    return Volume(
        row["name"],
        row["patient"],
        row["dataset"],
        row["modality"],
        grid,
        Intensity(*row["intensity"]),
        {name: count for name, count in counts.items() if name not in pseudo},
        stored,
        row.get("channel"),
        {name: counts[name] for name in pseudo},
        row["fingerprint"],
        row["mask_digests"],
    )


def cohort_of(shards: Shards) -> str:
    """Name the data by the content of their indices, so that seeds of a cohort are told apart."""
    texts = sorted((Path(folder) / "index.json").read_bytes() for folder in shards.folders)
    return f"{zlib.crc32(b''.join(texts)):08x}"
