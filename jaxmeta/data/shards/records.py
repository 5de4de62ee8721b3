"""Files of records: written beside and renamed when whole, cut to a bounded size, read by
number."""

import bisect
import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from jaxmeta.errors import BadInput
from jaxmeta.files import sync

OPTIONS = "group_size:1,uncompressed"  # one record a group: random access; slices are read often


def write_records(folder: Path, name: str, records: Iterable[bytes], limit: int) -> list[dict]:
    """Write records into files NAME.0, NAME.1, ... of at most `limit` bytes of records each.

    Gives the files' names, sizes and the number of the first record in each. Nothing is there under
    these names until every record is written; if making a record fails, nothing is left.
    """
    files, writer, room = [], None, 0
    beside = {}
    try:
        for number, record in enumerate(records):
            if len(record) > room:
                if writer is not None:
                    writer.close()
                files.append({"name": f"{name}.{len(files)}.array_record", "first": number})
                beside[files[-1]["name"]] = folder / f".{files[-1]['name']}.{os.getpid()}.partial"
                writer = ArrayRecordWriter(str(beside[files[-1]["name"]]), OPTIONS)
                room = limit
            writer.write(record)
            room -= len(record)
        if writer is not None:
            writer.close()
            writer = None
        for file in files:
            sync(beside[file["name"]])
            file["bytes"] = beside[file["name"]].stat().st_size
            os.replace(beside[file["name"]], folder / file["name"])
    except BaseException as error:
        with suppress(RuntimeError):
            if writer is not None:
                writer.close()
        for path in beside.values():
            path.unlink(missing_ok=True)
        if isinstance(error, RuntimeError) and "No space left" in str(error):  # how it tells it
            raise OSError(errno.ENOSPC, "No space left on device", str(folder)) from None
        raise
    return files


def read_record(files: Sequence[str], firsts: Sequence[int], number: int) -> bytes:
    """Read one record by its number among all of the files."""
    file = bisect.bisect_right(firsts, number) - 1
    return _reader(files[file], os.getpid()).read([number - firsts[file]])[0]


@lru_cache(maxsize=256)
def _reader(path, process):
    """Open a file once per process: a reader opened before a fork has lost its threads."""
    if not os.path.exists(path):
        raise BadInput(f"{path}: is in the index but not there; run prepare_data again")
    return ArrayRecordReader(path, "readahead_buffer_size:0")
