"""Open slice shards: ArrayRecord files of slices, and an index that says where each slice lies.

A prepared folder holds

    index.json                     the format, the options and the list of parts; written last
    acdc-1f2e3d4c5b6a.json         a part: a row (`index.py`) for each of its volumes
    acdc-1f2e3d4c5b6a.0.array_record       the part's records, cut into files of bounded size

where 1f2e3d4c5b6a is a hash of everything that the part was made of. A volume's records are its
slices at native size in the file's own numbers, then the masks, structure by structure, only of
slices that hold it. `load.py` reads them: files are opened when first read, once per process, and
reading is safe from many threads.
"""

import os
import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxmeta.data.grid import Grid, grid_by, sliced_shape
from jaxmeta.data.intensity import Intensity
from jaxmeta.data.orientation import ACQUIRED, Frame, Order, nearest_frame
from jaxmeta.data.scan import Scale, SlicePreprocessing
from jaxmeta.data.shards.index import index_bytes, read_index, read_part
from jaxmeta.errors import BadInput
from jaxmeta.files import path_of


class Stored(NamedTuple):
    """Where a volume's records are, and how its numbers are stored."""

    files: tuple[str, ...]  # of its part
    firsts: tuple[int, ...]  # number of the first record in each of them
    dtype: str
    scale: Scale
    image: int  # record of slice 0
    masks: dict[str, np.ndarray]  # structure -> int32[slices]: its record, -1 where it is empty
    order: Order | None = None  # of axes in the records, where slices are shown otherwise


class Volume(NamedTuple):
    """A row of the index, opened: what `index.py` counts from a first slice on is laid out."""

    name: str  # data set / case
    patient: str  # data set / patient
    dataset: str
    modality: str  # "ct" | "mr"
    grid: Grid
    intensity: Intensity
    counts: dict[str, np.ndarray]  # structure -> int32[slices], its pixels at native resolution
    stored: Stored
    channel: str | None = None  # name or number, where the image's file holds several
    supervoxels: dict[str, np.ndarray] = {}  # supervoxel -> int32[slices], its pixels
    fingerprint: str = ""  # of its voxels, as `fingerprint.py` makes it
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
    preprocessing: SlicePreprocessing = SlicePreprocessing()


def open_shards(folders: Sequence[str | os.PathLike]) -> Shards:
    """Read the indices of prepared folders and make the table of who holds what.

    Raises BadInput for what is no such folder, for folders of different `axis`, and for a volume
    that two of them hold.
    """
    folders = [path_of(folder) for folder in folders]
    indices = [read_index(folder) for folder in folders]
    volumes = tuple(
        volume
        for folder, index in zip(folders, indices)
        for part in index.parts
        for volume in _part(folder, part)
    )
    origin = {}
    for folder, index in zip(folders, indices):
        if index.axis != indices[0].axis:
            raise BadInput(
                f"{folder}: sliced {index.axis}, but {folders[0]} {indices[0].axis}; prepare both "
                "with the same `axis`"
            )
    for number, volume in enumerate(volumes):
        if origin.setdefault(volume.name, number) != number:
            raise BadInput(f"{volume.name} is in two of the folders {', '.join(map(str, folders))}")
    first = indices[0]
    defaults = Defaults(first.size, first.spacing, first.axis)
    return Shards(tuple(map(os.fspath, folders)), volumes, defaults, _table(volumes))


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
        counts, supervoxels = (
            {name: of[::-1] for name, of in those.items()}
            for those in (volume.counts, volume.supervoxels)
        )
        volume = volume._replace(counts=counts, supervoxels=supervoxels)
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


def without_labels(shards: Shards) -> set[str]:
    """Name the data sets in which nobody labelled anything."""
    labelled = {volume.dataset for volume in shards.volumes if volume.counts}
    return {volume.dataset for volume in shards.volumes} - labelled


def holders(shards: Shards, structure: str) -> dict[str, list[tuple[int, np.ndarray]]]:
    """Say who has a structure: patient -> [(number of the volume, its slices with the
    structure)]."""
    if structure not in shards.table:
        known = ", ".join(structures(shards))
        raise BadInput(f"no structure {structure} in {' '.join(shards.folders)}; known are {known}")
    return shards.table[structure]


def _part(folder, name):
    """Read the volumes of one part."""
    part = read_part(folder, name)
    files = tuple(os.fspath(folder / file.name) for file in part.files)
    firsts = tuple(file.first for file in part.files)
    return [_volume(row, files, firsts) for row in part.volumes]


def _volume(row, files, firsts):
    """Lay out where the records of a row's slices and masks are."""
    total = sliced_shape(row.grid)[0]
    counts, masks = {}, {}
    for structure, (start, first, pixels) in (row.structures | row.supervoxels).items():
        count = np.zeros(total, np.int32)
        count[start : start + len(pixels)] = pixels
        counts[structure] = count
        rank = np.cumsum(count > 0) - 1
        masks[structure] = np.where(count > 0, first + rank, -1).astype(np.int32)
    return Volume(
        row.name,
        row.patient,
        row.dataset,
        row.modality,
        row.grid,
        row.intensity,
        {name: count for name, count in counts.items() if name not in row.supervoxels},
        Stored(files, firsts, row.dtype, row.scale, row.image, masks),
        row.channel,
        {name: counts[name] for name in row.supervoxels},
        row.fingerprint,
        row.mask_digests,
    )


def cohort_of(shards: Shards) -> str:
    """Name the data by the content of their indices, so that seeds of a cohort are told apart."""
    return f"{zlib.crc32(b''.join(sorted(map(index_bytes, shards.folders)))):08x}"
