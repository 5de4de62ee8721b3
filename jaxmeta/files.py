"""Files that are whole or not there: written beside their place, then renamed into it.

Here a path becomes an `etils.epath.Path`. What opens, lists, reads and writes shards does so by the
functions of this file alone, so that folders elsewhere than on a disk, as gs://, are its matter:
what only writes and opens files of this machine gets such a one, and it is copied there or back.
"""

import dataclasses
import hashlib
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

import numpy as np
from etils import epath

from jaxmeta.errors import BadInput

# What NumPy raises on .npz files that are missing, cut off or damaged.
DAMAGED = zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, KeyError
Place = epath.Path  # what an option is that may lead elsewhere: pathlib's makes gs:/b of gs://b


def path_of(path: str | os.PathLike) -> Place:
    """Give a path that reads and writes wherever it leads."""
    return Place(path)


def elsewhere(path: str | os.PathLike) -> bool:
    """Tell whether a path leads to another machine, as gs://bucket/folder."""
    return "://" in os.fspath(path)


@contextmanager
def beside(path: str | os.PathLike) -> Iterator[Path]:
    """Give a local path to write to; rename it into place when all went well, remove it otherwise.

    What was written is on the disk before it gets its name: a machine that loses power keeps the
    old file or the new one. Folders on the way are made. Elsewhere a file has its name once it is
    whole, so it is sent as one. Raises FileNotFoundError where nothing was written.
    """
    place = path_of(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    if elsewhere(place):
        with TemporaryDirectory() as folder:
            part = Path(folder, place.name)
            yield part
            place.write_bytes(part.read_bytes())
        return
    part = Path(place.with_name(f".{place.name}.{os.getpid()}.partial"))
    try:
        yield part
        sync(part)
        path_of(part).replace(place)
    finally:
        part.unlink(missing_ok=True)


def read_bytes(path: str | os.PathLike) -> bytes:
    """Read a file; raises OSError where that cannot be done."""
    return path_of(path).read_bytes()


def read_text(path: str | os.PathLike) -> str:
    """Read a file of UTF-8, whatever the machine's own; raises ValueError where it is none."""
    return read_bytes(path).decode("utf-8")


def write_text(path: str | os.PathLike, text: str) -> None:
    """Write a file of UTF-8, whole or not at all."""
    with beside(path) as part:
        part.write_bytes(text.encode("utf-8"))


def exists(path: str | os.PathLike) -> bool:
    """Tell whether a file or a folder is there.

    Raises BadInput where it would be elsewhere and what reads there is not installed.
    """
    try:
        return path_of(path).exists()
    except ImportError as error:
        raise BadInput(f"{path}: {error}") from None


def is_folder(path: str | os.PathLike) -> bool:
    """Tell whether a folder is there."""
    return path_of(path).is_dir()


def make_folder(path: str | os.PathLike) -> None:
    """Make a folder, and those on the way to it, unless it is there."""
    path_of(path).mkdir(parents=True, exist_ok=True)


def listing(folder: str | os.PathLike) -> list[str]:
    """Name what a folder holds, sorted; nothing where there is no such folder."""
    return sorted(file.name for file in path_of(folder).iterdir()) if is_folder(folder) else []


def length(path: str | os.PathLike) -> int:
    """Give a file's length in bytes; raises OSError where it is not there."""
    return path_of(path).stat().length


def remove(path: str | os.PathLike) -> None:
    """Remove a file; raises OSError where it is not there."""
    path_of(path).unlink()


def local(path: str | os.PathLike) -> str:
    """Name the file on this machine that has these bytes, for what opens files by name itself.

    One from elsewhere is copied among the temporary files when it is first asked for, and again
    where it has changed since; the processes of a user share the copy. Raises OSError where the
    file is not there.
    """
    place = path_of(path)
    if not elsewhere(place):
        return os.fspath(place)
    known = place.stat()
    key = hashlib.sha256(f"{place} {known.length} {known.mtime}".encode()).hexdigest()[:16]
    user = os.getuid() if hasattr(os, "getuid") else ""  # not on Windows
    copy = Path(gettempdir(), f"jaxmeta-{user}", key, place.name)
    if not copy.exists():
        with beside(copy) as part:
            part.write_bytes(place.read_bytes())
    return os.fspath(copy)


def sync(path: str | os.PathLike) -> None:
    """Wait until a local file is on the disk; raises FileNotFoundError where there is none."""
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())


def write_json(path: str | os.PathLike, values: Any) -> None:
    """Write nested values as JSON, as `plain` makes them."""
    write_text(path, json.dumps(plain(values), indent=1, allow_nan=False) + "\n")


def plain(value: Any) -> Any:
    """Turn named tuples, dataclasses, arrays and paths into what JSON has; no number becomes
    null."""
    if dataclasses.is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset, np.ndarray)):
        return [plain(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
