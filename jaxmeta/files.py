"""Files that are whole or not there: written beside their place, then renamed into it.

Here a path becomes an `etils.epath.Path`. What opens, lists, reads and writes shards does so by the
functions of this file alone, so that folders elsewhere than on a disk, as gs://, are its matter.
"""

import dataclasses
import json
import math
import os
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

# What NumPy raises on .npz files that are missing, cut off or damaged.
DAMAGED = zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, KeyError


def path_of(path: str | os.PathLike) -> epath.Path:
    """Give a path that reads and writes wherever it leads."""
    return epath.Path(path)


@contextmanager
def beside(path: str | os.PathLike) -> Iterator[Path]:
    """Give a local path to write to; rename it into place when all went well, remove it otherwise.

    What was written is on the disk before it gets its name: a machine that loses power keeps the
    old file or the new one. Folders on the way are made. Raises FileNotFoundError where nothing was
    written.
    """
    place = path_of(path)
    place.parent.mkdir(parents=True, exist_ok=True)
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
    """Tell whether a file or a folder is there."""
    return path_of(path).exists()


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
    """Name the file on this machine that has these bytes, for what opens files by name itself."""
    return os.fspath(path_of(path))


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
