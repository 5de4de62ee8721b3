"""Turn folders of NIfTI volumes into slice shards: in parallel, restartable, the same bytes each
time.

The cases are cut into parts (`parts.py`) that are done each by itself. The index that makes a
folder readable is written last, so until then an older index goes on pointing to the older,
untouched files.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Callable, Sequence

from jaxmeta.data.cases import find_cases
from jaxmeta.data.identity import doubts
from jaxmeta.data.names import amount
from jaxmeta.data.orientation import ACQUIRED, AXIS_RULES
from jaxmeta.data.placement import told_notes
from jaxmeta.data.planes import shown_alike
from jaxmeta.data.reading import unseen_share
from jaxmeta.data.shards.index import (
    INDEX,
    Index,
    part_file,
    read_part,
    volumes_before,
    write_index,
)
from jaxmeta.data.shards.parts import PartOptions, plan, prepare_part
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.data.shards.summary import Summary, summarize
from jaxmeta.data.shards.workers import each_done
from jaxmeta.errors import BadInput, Unseen
from jaxmeta.files import exists, is_folder, listing, make_folder, path_of, remove

PART_BYTES = 16 << 20  # of image files in a part: the unit of parallel work and of restarting
FILE_BYTES = 64 << 20  # of records in a file
SHARD_FILES = re.compile(r"\.?(\w+-[0-9a-f]{12}(\.\d+\.array_record|\.json)|index\.json)(.*)")


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
    keep_unlabelled: bool = False,
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
    that look alike. `keep_unlabelled` keeps scans that have no label. Raises BadInput
    for options and files that cannot be used.
    """
    if axis not in AXIS_RULES:
        raise BadInput(f"`axis={axis}`: known are {', '.join(AXIS_RULES)}")
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
        keep_unlabelled=keep_unlabelled,
    )
    if alone and not skip_bad:
        more = f" (and {len(alone) - 1} more)" if len(alone) > 1 else ""
        kept = ", `keep_unlabelled` keeps scans without a label" * bool(alone[0].unlabelled)
        raise BadInput(f"{alone[0].why}{more}; `skip_bad` leaves such cases out{kept}")
    parts = plan(shown_alike(cases, axis), part_bytes)
    options = PartOptions(axis, fill_nan, file_bytes, skip_bad, supervoxels)
    if exists(output) and not is_folder(output):
        raise BadInput(f"`output={output}`: is a file, not a folder")
    make_folder(output)
    try:
        finished, reused = _run(parts, output, options, workers, progress)
    except Unseen as error:
        share = unseen_share(cases, axis, fill_nan)
        raise BadInput(f"{error} ({share}; `skip_bad` leaves them out)") from None
    parts_there = [read_part(output, name) for name in finished]
    skipped = [one[:2] for one in alone] + [bad for part in parts_there for bad in part.skipped]
    rows = [row for part in parts_there for row in part.volumes]
    left = volumes_before(output, finished) - {row.name for row in rows}
    gone = Counter(name.split("/")[0] for name in left)
    notes += [
        f"{dataset}: {amount(count, 'volume')} of before in {output}, not among these inputs: "
        "no longer there"
        for dataset, count in sorted(gone.items())
    ]
    there = {row.name for row in rows}
    bare = {c.name: c.dataset for c in cases if c.label is None and c.name in there}
    notes += [
        f"{dataset}: {amount(count, 'scan')} without a label, for who learns from unlabelled ones"
        for dataset, count in sorted(Counter(bare.values()).items())
    ]
    notes += told_notes([note for row in rows for note in row.notes])
    summary = summarize(rows, sorted(skipped), notes, reused, axis, bare.keys())
    write_index(output, Index(size, spacing, axis, tuple(finished)))
    _remove_stale(output, finished, parts_there)
    return summary._replace(notes=summary.notes + doubts(open_shards([output])))


def _run(parts, output, options, workers, progress):
    """Prepare all parts: (their names in order, volumes that were done before)."""
    names, reused, done = {}, 0, 0
    total = sum(len(part.cases) for part in parts)
    progress(0, total)
    for number, (name, found) in each_done(prepare_part, parts, output, options, workers=workers):
        names[number] = name
        reused += found
        done += len(parts[number].cases)
        progress(done, total)
    return [names[number] for number in range(len(parts))], reused


def _remove_stale(output, finished, parts):
    """Remove what older runs left: parts that the index no longer names, files half written."""
    named = {file.name for part in parts for file in part.files}
    named |= {INDEX, *map(part_file, finished)}
    for name in listing(output):
        if name not in named and SHARD_FILES.fullmatch(name):
            remove(path_of(output) / name)
