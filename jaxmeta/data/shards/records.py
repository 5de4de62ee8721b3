"""Files of records: written beside and renamed when whole, cut to a bounded size, read by
number."""

import bisect
import errno
import os
from collections.abc import Iterable, Sequence
from contextlib import ExitStack, suppress
from functools import lru_cache
from typing import NamedTuple

from array_record.python.array_record_module import ArrayRecordReader, ArrayRecordWriter

from jaxmeta.errors import BadInput
from jaxmeta.files import beside, exists, length, local, path_of

OPTIONS = "group_size:1,uncompressed"  # one record a group: random access; slices are read often


class RecordFile(NamedTuple):
    """One of the files that hold a part's records."""

    name: str  # in its folder
    first: int  # number of its first record
    bytes: int  # its length


def write_records(
    folder: str | os.PathLike, name: str, records: Iterable[bytes], limit: int
) -> tuple[RecordFile, ...]:
    """Write records into files NAME.0, NAME.1, ... of at most `limit` bytes of records each.

    Nothing is there under these names until every record is written; if making a record fails,
    nothing is left. Raises OSError where there is no room.
    """
    parts, writer, room = [], None, 0  # (name, number of the first record, where it is written)
    try:
        with ExitStack() as begun:
            try:
                for number, record in enumerate(records):
                    if len(record) > room:
                        if writer is not None:
                            writer.close()
                        own = f"{name}.{len(parts)}.array_record"
                        part = begun.enter_context(beside(path_of(folder) / own))
                        parts.append((own, number, part))
                        writer = ArrayRecordWriter(str(part), OPTIONS)
                        room = limit
                    writer.write(record)
                    room -= len(record)
                if writer is not None:
                    writer.close()
                    writer = None
            except BaseException:
                with suppress(RuntimeError):
                    if writer is not None:
                        writer.close()
                raise
            return tuple(RecordFile(own, first, length(part)) for own, first, part in parts)
    except RuntimeError as error:
        if "No space left" in str(error):  # how it tells it
            raise OSError(errno.ENOSPC, "No space left on device", str(folder)) from None
        raise


def read_record(files: Sequence[str], firsts: Sequence[int], number: int) -> bytes:
    """Read one record by its number among all of the files; raises BadInput where one is gone."""
    file = bisect.bisect_right(firsts, number) - 1
    return _reader(files[file], os.getpid()).read([number - firsts[file]])[0]


@lru_cache(maxsize=256)
def _reader(path, process):
    """Open a file once per process: a reader opened before a fork has lost its threads."""
    if not exists(path):
        raise BadInput(f"{path}: is in the index but not there; run `jaxmeta prepare` again")
    return ArrayRecordReader(local(path), "readahead_buffer_size:0")
