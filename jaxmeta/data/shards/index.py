"""The index of a prepared folder: which parts it has, and a typed row for every volume.

    index.json       the format, how slices are loaded by default and the list of parts
    PART.json        the files of the part's records, a row a volume, and what was skipped and why

Both are written and read here alone, so what a key of theirs is called is known to this file only.
Shards written before stay readable as long as `FORMAT` is theirs.
"""

import json
import os
from collections.abc import Collection
from typing import NamedTuple

from jaxmeta.data.grid import Grid, grid_from_json, grid_to_json
from jaxmeta.data.intensity import Intensity
from jaxmeta.data.placement import Note
from jaxmeta.data.scan import Scale
from jaxmeta.data.shards.records import RecordFile
from jaxmeta.errors import BadInput
from jaxmeta.files import exists, listing, path_of, read_bytes, read_text, write_json, write_text

FORMAT = 2
INDEX = "index.json"


class Index(NamedTuple):
    """What holds for all of a folder."""

    size: int  # pixels of a side, by default
    spacing: float | None  # mm of a pixel, by default; None: slices are stretched to the square
    axis: str  # by which rule of `orientation.py` volumes are cut
    parts: tuple[str, ...]


class Held(NamedTuple):
    """Where a structure is in a volume, and how large."""

    start: int  # the first slice that holds it
    record: int  # of that slice's mask; the next ones are those of further slices that hold it
    pixels: tuple[int, ...]  # in that slice and those up to the last that holds it


class IndexRow(NamedTuple):
    """One prepared volume."""

    name: str  # data set / case
    patient: str  # data set / patient
    dataset: str
    modality: str  # "ct" | "mr"
    channel: str | None  # name or number, where the image's file holds several
    grid: Grid
    intensity: Intensity  # in real units: HU of a CT
    dtype: str  # of its slices' records, as NumPy writes it
    scale: Scale  # from stored numbers to real units
    image: int  # record of slice 0
    structures: dict[str, Held]
    unnamed: tuple[int, ...]  # label values without a name, left out
    fingerprint: str  # of its voxels, as `fingerprint.py` makes it
    mask_digests: dict[str, str]  # structure -> digest of its masks, where it has any
    supervoxels: dict[str, Held] = {}
    notes: tuple[Note, ...] = ()  # what is odd about its files


class PartIndex(NamedTuple):
    """What a part's file says."""

    files: tuple[RecordFile, ...]
    volumes: tuple[IndexRow, ...]
    skipped: tuple[tuple[str, str], ...]  # (case, why)


def write_index(folder: str | os.PathLike, index: Index) -> None:
    """Write what makes a folder readable: after everything else."""
    write_json(path_of(folder) / INDEX, {"format": FORMAT} | index._asdict())


def read_index(folder: str | os.PathLike) -> Index:
    """Read it; raises BadInput where a folder has none, or one of another format."""
    file = path_of(folder) / INDEX
    if not exists(file):
        begun = any(name.endswith(".array_record") for name in listing(folder))
        what = "preparation is unfinished, run" if begun else "run"
        raise BadInput(
            f"{folder}: not a folder of shards; {what} `jaxmeta prepare` `output={folder}`"
        )
    try:
        index = json.loads(read_text(file))
        version = index["format"]
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{file}: not an index of shards; run `jaxmeta prepare` again") from None
    if version != FORMAT:
        raise BadInput(
            f"{folder}: shards of format {version}, this program reads format {FORMAT}; run "
            "`jaxmeta prepare` again"
        )
    return Index(index["size"], index["spacing"], index["axis"], tuple(index["parts"]))


def index_bytes(folder: str | os.PathLike) -> bytes:
    """Give the index as it is written: it names the parts, and they are named by their content."""
    return read_bytes(path_of(folder) / INDEX)


def write_part(folder: str | os.PathLike, name: str, part: PartIndex) -> None:
    """Write a part's file, compactly: it holds a number for every slice."""
    volumes = [_row_to_json(row) for row in part.volumes]
    files = [file._asdict() for file in part.files]
    written = {"files": files, "volumes": volumes, "skipped": part.skipped}
    write_text(path_of(folder) / part_file(name), json.dumps(written))


def read_part(folder: str | os.PathLike, name: str) -> PartIndex:
    """Read a part's file; raises BadInput where it is gone."""
    file = path_of(folder) / part_file(name)
    if not exists(file):
        raise BadInput(f"{file}: is in the index but not there; run `jaxmeta prepare` again")
    part = json.loads(read_text(file))
    return PartIndex(
        files=tuple(RecordFile(**row) for row in part["files"]),
        volumes=tuple(map(_row_from_json, part["volumes"])),
        skipped=tuple((case, why) for case, why in part["skipped"]),
    )


def has_part(folder: str | os.PathLike, name: str) -> bool:
    """Tell whether a part's file is there."""
    return exists(path_of(folder) / part_file(name))


def part_file(name: str) -> str:
    """Name a part's file."""
    return f"{name}.json"


def volumes_before(folder: str | os.PathLike, finished: Collection[str]) -> set[str]:
    """Name the volumes in parts of an index that is there, of any format, but for those of
    `finished` parts."""
    try:
        parts = json.loads(read_text(path_of(folder) / INDEX))["parts"]
        return {
            row["name"]
            for part in set(parts) - set(finished)
            for row in json.loads(read_text(path_of(folder) / part_file(part)))["volumes"]
        }
    except (OSError, ValueError, KeyError, TypeError):
        return set()


def _row_to_json(row):
    """Write a row as JSON values; what may be empty is left out, as rows before it had none."""
    written = {
        "name": row.name,
        "patient": row.patient,
        "dataset": row.dataset,
        "modality": row.modality,
        "channel": row.channel,
        "grid": grid_to_json(row.grid),
        "intensity": row.intensity,
        "dtype": row.dtype,
        "slope": row.scale.slope,
        "intercept": row.scale.intercept,
        "image": row.image,
        "structures": row.structures,
        "unnamed": row.unnamed,
        "fingerprint": row.fingerprint,
        "mask_digests": row.mask_digests,
    }
    written |= {"pseudo": row.supervoxels} if row.supervoxels else {}
    return written | ({"notes": row.notes} if row.notes else {})


def _row_from_json(row):
    scale = Scale(row.pop("slope"), row.pop("intercept"))
    pieces = _held(row.pop("pseudo", {}))  # what the file calls supervoxels
    return IndexRow(
        **{"channel": None}  # of the first rows of this format
        | row
        | {
            "grid": grid_from_json(row["grid"]),
            "intensity": Intensity(*row["intensity"]),
            "scale": scale,
            "structures": _held(row["structures"]),
            "unnamed": tuple(row["unnamed"]),
            "supervoxels": pieces,
            "notes": tuple(Note(*note) for note in row.get("notes", ())),
        }
    )


def _held(structures):
    return {
        name: Held(start, record, tuple(pixels))
        for name, (start, record, pixels) in structures.items()
    }
