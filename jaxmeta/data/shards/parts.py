"""Parts: a few volumes that are prepared together, named by what they are made of.

The sorted cases are cut into parts where their names say so, so that a volume more or less changes
the parts about it only. A part is named by a hash of its inputs and of the options that matter; if
files of that name are there, they are whole (they were written beside and renamed) and the part is
done.
"""

import hashlib
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import NamedTuple

from jaxmeta.data.cases import Case
from jaxmeta.data.formats.formats import files_of
from jaxmeta.data.shards.index import FORMAT, PartIndex, has_part, read_part, write_part
from jaxmeta.data.shards.records import write_records
from jaxmeta.data.shards.volume import prepare_case
from jaxmeta.errors import BadInput
from jaxmeta.files import exists, length, path_of, read_bytes


class PartOptions(NamedTuple):
    """What a part's bytes depend on besides its cases, and whether a bad case ends it all."""

    axis: str
    fill_nan: float | None
    file_bytes: int
    skip_bad: bool
    supervoxels: int


class Part(NamedTuple):
    """Consecutive cases of one data set, prepared together."""

    dataset: str
    cases: tuple[Case, ...]


def plan(cases: Sequence[Case], part_bytes: int) -> list[Part]:
    """Cut the sorted cases into parts: a function of the file list alone.

    A part ends behind a case by a draw that its name decides, the likelier the larger it is: about
    once in half of `part_bytes`, and before these are exceeded.
    """
    parts = []
    for dataset, group in groupby(cases, key=lambda case: case.dataset):
        batches, filled, ended = [], 0, True
        for case in group:
            weight = sum(map(length, files_of(case.image)))
            if ended or filled + weight > part_bytes:
                batches, filled = [*batches, []], 0
            batches[-1].append(case)
            filled += weight
            ended = zlib.crc32(case.name.encode()) / 2**32 < 2 * weight / part_bytes
        parts += [Part(dataset, tuple(batch)) for batch in batches]
    return parts


def prepare_part(part: Part, output: str | os.PathLike, options: PartOptions) -> tuple[str, int]:
    """Make one part unless it is there: (its name, volumes found done).

    Runs in a worker process. Raises BadInput for a case that cannot be used, unless such are
    skipped.
    """
    name = f"{part.dataset}-{_key(part, options)}"
    how = dict(axis=options.axis, fill_nan=options.fill_nan, pieces=options.supervoxels)
    done = _done(output, name)
    if done is not None:
        if done.skipped and not options.skip_bad:
            bad, why = done.skipped[0]
            read_again = next(case for case in part.cases if case.name == bad)
            prepare_case(read_again, 0, **how)  # raises as it did, of its own kind
            raise BadInput(why)
        return name, len(done.volumes)
    volumes, skipped = [], []

    def records() -> Iterator[bytes]:
        first = 0
        for case in part.cases:
            try:
                row, found, number = prepare_case(case, first, **how)
            except BadInput as error:
                if not options.skip_bad:
                    raise
                skipped.append((case.name, str(error)))
                continue
            yield from found
            volumes.append(row)
            first += number

    files = write_records(output, name, records(), options.file_bytes)
    write_part(output, name, PartIndex(files, tuple(volumes), tuple(skipped)))
    return name, 0


def _key(part, options):
    """Hash everything that a part's bytes depend on: contents, not paths or dates."""
    rows = []
    for case in part.cases:
        files = case.files and {structure: _sha(file) for structure, file in case.files.items()}
        label = None if files or not case.label else _sha(case.label)
        rows.append([*case._replace(image=_sha(case.image), label=label, files=files)])
    told = [FORMAT, options.axis, options.fill_nan, options.file_bytes, rows]
    told += [options.supervoxels] if options.supervoxels else []
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:12]


def _sha(volume):
    """Hash a file, or the hashes of those of a folder."""
    hashes = [hashlib.sha256(read_bytes(file)).hexdigest() for file in files_of(volume)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _done(output, name):
    """Read a part that is there and whole, else None."""
    if not has_part(output, name):
        return None
    part = read_part(output, name)
    files = [(path_of(output) / file.name, file.bytes) for file in part.files]
    return part if all(exists(file) and length(file) == known for file, known in files) else None
