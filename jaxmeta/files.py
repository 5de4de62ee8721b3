"""Files that are whole or not there: written beside their place, then renamed into it."""

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

# What NumPy raises on .npz files that are missing, cut off or damaged.
DAMAGED = zipfile.BadZipFile, zlib.error, OSError, ValueError, EOFError, KeyError


@contextmanager
def beside(path: str | os.PathLike) -> Iterator[Path]:
    """Give a path to write to; rename it into place when all went well, remove it otherwise.

    What was written is on the disk before it gets its name: a machine that loses power keeps the
    old file or the new one.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        yield part
        sync(part)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def sync(path: str | os.PathLike) -> None:
    """Wait until a file is on the disk."""
    with open(path, "rb") as handle:
        os.fsync(handle.fileno())


def write_json(path: str | os.PathLike, values: Any) -> None:
    """Write nested values as JSON, as `plain` makes them."""
    with beside(path) as part:
        part.write_text(json.dumps(plain(values), indent=1, allow_nan=False) + "\n", "utf-8")


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
    if isinstance(value, Path):
        return str(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value
