"""Turn folders of NIfTI volumes into slice shards: in parallel, restartable, the same bytes each
time.

The sorted cases are cut into parts of a few volumes, where their names say so, so that a volume
more or less changes the parts about it only. A part is named by a hash of its inputs and of the
options that matter; if files of that name are there, they are whole (they were written beside and
renamed) and the part is done. The index that makes a folder readable is written last, so until then
an older index goes on pointing to the older, untouched files.
"""

import hashlib
import json
import math
import multiprocessing
import os
import re
import signal
import threading
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import chain, groupby
from typing import NamedTuple

from jaxmeta.data.cases import Case, find_cases
from jaxmeta.data.formats.formats import files_of
from jaxmeta.data.grid import spacing
from jaxmeta.data.identity import doubts, fingerprint, mask_digest
from jaxmeta.data.masks import masks_of
from jaxmeta.data.names import amount
from jaxmeta.data.orientation import ACQUIRED, RULES
from jaxmeta.data.placement import told_notes
from jaxmeta.data.planes import shown_alike
from jaxmeta.data.reading import read_case, read_masks, unseen_share
from jaxmeta.data.shards.index import (
    FORMAT,
    INDEX,
    Held,
    Index,
    IndexRow,
    PartIndex,
    has_part,
    part_file,
    read_part,
    volumes_before,
    write_index,
    write_part,
)
from jaxmeta.data.shards.records import write_records
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.data.shards.summary import Summary, summarise
from jaxmeta.data.supervoxels import supervoxels
from jaxmeta.errors import BadInput, Unseen
from jaxmeta.files import (
    exists,
    is_folder,
    length,
    listing,
    make_folder,
    path_of,
    read_bytes,
    remove,
)

PART_BYTES = 16 << 20  # of image files in a part: the unit of parallel work and of restarting
FILE_BYTES = 64 << 20  # of records in a file
PIECE = "supervoxel_"
OURS = re.compile(r"\.?(\w+-[0-9a-f]{12}(\.\d+\.array_record|\.json)|index\.json)(.*)")


class Options(NamedTuple):
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


def prepare(
    folders: Sequence[str | os.PathLike],
    output: str | os.PathLike,
    *,
    size: int = 128,
    spacing: float | None = None,
    axis: str = ACQUIRED,
    modality: Sequence[str] = (),
    labels: Sequence[str] = (),
    channel: Sequence[str] = (),
    rescale: Sequence[str] = (),
    patient_pattern: str | None = None,
    same_patients: Sequence[str] = (),
    pair_suffix: str | None = None,
    pairs: Sequence[str] | None = None,
    skip_bad: bool = False,
    fill_nan: float | None = None,
    supervoxels: int = 0,
    workers: int | None = None,
    part_bytes: int = PART_BYTES,
    file_bytes: int = FILE_BYTES,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Summary:
    """Prepare every case of the folders; `progress` is told of volumes done and in all.

    `size` (pixels) and `spacing` (mm of a pixel) are how slices are loaded by default; `fill_nan`
    is in a scan's real units. With `supervoxels` each volume is also cut into about so many pieces
    that look alike. Raises BadInput for options and files that cannot be used.
    """
    if axis not in RULES:
        raise BadInput(f"`axis={axis}`: known are {', '.join(RULES)}")
    if size < 1 or (spacing is not None and spacing <= 0) or (workers is not None and workers < 1):
        raise BadInput(f"`size={size}`, `spacing={spacing}`, `workers={workers}`: must be above 0")
    if supervoxels < 0:
        raise BadInput(f"`supervoxels={supervoxels}`: must be at least 0")
    if fill_nan is not None and not math.isfinite(fill_nan):
        raise BadInput(f"`fill_nan={fill_nan}`: must be a finite number")
    cases, alone, notes = find_cases(
        folders,
        modality=modality,
        labels=labels,
        channel=channel,
        rescale=rescale,
        patient_pattern=patient_pattern,
        same_patients=same_patients,
        pair_suffix=pair_suffix,
        pairs=pairs,
    )
    if alone and not skip_bad:
        more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
        raise BadInput(f"{alone[0][1]}{more}; `skip_bad` leaves such cases out")
    parts = plan(shown_alike(cases, axis), part_bytes)
    options = Options(axis, fill_nan, file_bytes, skip_bad, supervoxels)
    if exists(output) and not is_folder(output):
        raise BadInput(f"`output={output}`: is a file, not a folder")
    make_folder(output)
    try:
        finished, reused = _run(parts, output, options, workers or _cores(), progress)
    except Unseen as error:
        share = unseen_share(cases, axis, fill_nan)
        raise BadInput(f"{error} ({share}; `skip_bad` leaves them out)") from None
    parts_there = [read_part(output, name) for name in finished]
    skipped = alone + [bad for part in parts_there for bad in part.skipped]
    rows = [row for part in parts_there for row in part.volumes]
    left = volumes_before(output, finished) - {row.name for row in rows}
    gone = Counter(name.split("/")[0] for name in left)
    notes += [
        f"{dataset}: {amount(count, 'volume')} of before in {output}, not among these inputs: "
        "no longer there"
        for dataset, count in sorted(gone.items())
    ]
    notes += told_notes([note for row in rows for note in row.notes])
    summary = summarise(rows, sorted(skipped), notes, reused, axis)
    write_index(output, Index(size, spacing, axis, tuple(finished)))
    _remove_stale(output, finished, parts_there)
    return summary._replace(notes=summary.notes + doubts(open_shards([output])))


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


def prepare_part(part: Part, output: str | os.PathLike, options: Options) -> tuple[str, int]:
    """Make one part unless it is there: (its name, volumes found done).

    Runs in a worker process. Raises BadInput for a case that cannot be used, unless such are
    skipped.
    """
    name = f"{part.dataset}-{_key(part, options)}"
    done = _done(output, name)
    if done is not None:
        if done.skipped and not options.skip_bad:
            bad, why = done.skipped[0]
            read_again = next(case for case in part.cases if case.name == bad)
            prepare_case(read_again, options, 0)  # raises as it did, of its own kind
            raise BadInput(why)
        return name, len(done.volumes)
    volumes, skipped = [], []

    def records() -> Iterator[bytes]:
        first = 0
        for case in part.cases:
            try:
                row, found, number = prepare_case(case, options, first)
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


def prepare_case(case: Case, options: Options, first: int) -> tuple[IndexRow, Iterator[bytes], int]:
    """Read one volume: (its row of the index, its records, their number).

    `first` is the number of its first record. Raises BadInput with the name of the file.
    """
    image, scan = read_case(case, options.axis, options.fill_nan)
    grid, scale = scan.geometry, scan.scale
    found, unnamed, notes = read_masks(case, image, grid)
    if case.atlas:
        found = {structure: masks for structure, masks in found.items() if masks}
    slices = scan.values.astype(scan.values.dtype.newbyteorder("<"), copy=False)
    structures, number = _placed(found, first + len(slices))
    pieces = {}
    if options.supervoxels:
        mm, how = spacing(grid), scale._asdict()
        cut = supervoxels(slices, scan.intensity, mm, options.supervoxels, **how)
        pieces, _ = masks_of(cut, None, PIECE)
    pseudo, number = _placed(pieces, number)
    row = IndexRow(
        name=case.name,
        patient=case.patient,
        dataset=case.dataset,
        modality=case.modality,
        channel=_channel(case),
        grid=grid,
        intensity=scan.intensity,
        dtype=slices.dtype.str,
        scale=scale,
        image=first,
        structures=structures,
        unnamed=tuple(unnamed),
        fingerprint=fingerprint(image.values, *scale),
        mask_digests={name: mask_digest(of) for name, of in sorted(found.items()) if of},
        pseudo=pseudo,
        notes=image.notes + notes,
    )
    masks = (
        record for part in (found, pieces) for _, of in sorted(part.items()) for *_, record in of
    )
    return row, chain((plane.tobytes() for plane in slices), masks), number - first


def _placed(found, number):
    """Say of every structure where its masks are, the first of all being record `number`.

    Returns these, and the number behind the last record.
    """
    structures = {}
    for structure, masks in sorted(found.items()):
        start = masks[0][0] if masks else 0
        pixels = [0] * (masks[-1][0] + 1 - start if masks else 0)
        for plane, count, _ in masks:
            pixels[plane - start] = count
        structures[structure] = Held(start, number, tuple(pixels))
        number += len(masks)
    return structures, number


def _channel(case):
    """Name the channel that was read of an image that holds several."""
    if case.channel is None:
        return None
    return case.channels[case.channel] if case.channels else str(case.channel)


def _run(parts, output, options, workers, progress):
    """Prepare all parts: (their names in order, volumes that were done before)."""
    names, reused, done = {}, 0, 0
    total = sum(len(part.cases) for part in parts)
    progress(0, total)
    for number, (name, found) in _each(parts, output, options, workers):
        names[number] = name
        reused += found
        done += len(parts[number].cases)
        progress(done, total)
    return [names[number] for number in range(len(parts))], reused


def _each(parts, output, options, workers):
    """Yield (number, result) of every part as it is done: in processes, if there is work for
    two."""
    if min(workers, len(parts)) < 2:
        yield from ((n, prepare_part(part, output, options)) for n, part in enumerate(parts))
        return
    spawn = multiprocessing.get_context("spawn")  # safe whatever threads the caller has
    with ProcessPoolExecutor(min(workers, len(parts)), spawn, _die_with_parent) as pool:
        with deaf_to_ctrl_c():
            jobs = {pool.submit(prepare_part, p, output, options): n for n, p in enumerate(parts)}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        except BrokenProcessPool:
            raise BadInput(
                "a worker process was killed, most likely for want of memory; use fewer `workers`"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def deaf_to_ctrl_c():
    """Let no process that is begun here answer Ctrl-C, from its first line on; this one hears it a
    moment later.

    A terminal sends it to all. One that is ended by it, while it still imports, leaves a traceback,
    and afterwards would look like one that was killed for memory.
    """
    if not hasattr(signal, "pthread_sigmask"):  # not on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_parent():
    """Let no worker wait for ever for the next job of a parent that was killed."""

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _cores():
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def _key(part, options):
    """Hash everything that a part's bytes depend on: contents, not paths or dates."""
    rows = []
    for case in part.cases:
        files = case.files and {structure: _sha(file) for structure, file in case.files.items()}
        label = None if files else _sha(case.label)
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


def _remove_stale(output, finished, parts):
    """Remove what older runs left: parts that the index no longer names, files half written."""
    named = {file.name for part in parts for file in part.files}
    named |= {INDEX, *map(part_file, finished)}
    for name in listing(output):
        if name not in named and OURS.fullmatch(name):
            remove(path_of(output) / name)
