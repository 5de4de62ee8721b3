"""Slices as a network's frozen part sees them, kept on disk: computed once, read ever after.

A folder holds one file a slice, named by volume and number; `layout.json` says whose they are. What
is kept are named arrays, as the frozen part makes them of one slice.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmeta.errors import BadInput, Occupied
from jaxmeta.files import DAMAGED, beside, write_json
from jaxmeta.tasks.episodes import Episode, Slice
from jaxmeta.tasks.source import Source
from jaxmeta.tasks.task import Task

LAYOUT = "layout.json"


class Cache(NamedTuple):
    """A folder of slices that were seen already."""

    folder: Path
    names: tuple[str, ...]  # of the volumes, by number


def open_cache(folder: Path, names: Sequence[str], whose: dict[str, Any]) -> Cache:
    """Open a folder, or begin it; `whose` says what made it: the weights, the size, the adapter.

    Raises Occupied where something else made it.
    """
    path = folder / LAYOUT
    told = json.loads(json.dumps(whose, default=str))
    if path.exists() and json.loads(path.read_text("utf-8")) != told:
        raise Occupied(
            f"{folder} keeps slices of other data, or that other weights or sizes have seen: give "
            "another"
        )
    if not path.exists():
        write_json(path, told)
    return Cache(folder, tuple(names))


def place_of(cache: Cache, at: Slice) -> Path:
    """Name the file of a slice."""
    volume, number = at
    return cache.folder / cache.names[volume] / f"{number}.npz"


def keep(cache: Cache, at: Slice, parts: Mapping[str, np.ndarray]) -> None:
    """Write what was seen of a slice."""
    with beside(place_of(cache, at)) as part, part.open("wb") as file:
        np.savez(file, **parts)


def kept(cache: Cache, slices: Sequence[Slice]) -> dict[str, np.ndarray]:
    """Read what was seen of slices, each part stacked."""
    found = []
    for path in (place_of(cache, at) for at in slices):
        try:
            with np.load(path) as parts:
                found.append({name: parts[name] for name in parts.files})
        except DAMAGED:
            raise BadInput(
                f"{path}: cut off, or damaged; remove it, and it is made again"
            ) from None
    return {name: np.stack([parts[name] for parts in found]) for name in found[0]}


def not_kept(cache: Cache, slices: Sequence[Slice]) -> list[Slice]:
    """List the slices that were not seen yet."""
    return [at for at in dict.fromkeys(slices) if not place_of(cache, at).exists()]


Chosen = Callable[[Sequence[Slice]], list[Slice]]


def cached(source: Source, cache: Cache, asked: Chosen) -> Source:
    """Give tasks with slices as they are kept, instead of pixels.

    `asked(slices of one side)` -> those that its images show, in their order.
    """
    return source._replace(load=partial(load_cached, source.load, cache, asked))


def load_cached(
    load: Callable, cache: Cache, asked: Chosen, episode: Episode, seed: int, index: int
) -> Task:
    """Read a task, and for its images what is kept of them."""
    task = load(episode, seed, index)
    support, query = (kept(cache, asked(side)) for side in (episode.support, episode.query))
    return task._replace(
        support=task.support._replace(image=support), query=task.query._replace(image=query)
    )
