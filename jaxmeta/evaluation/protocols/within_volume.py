"""What is asked within a volume, as SSM-SAM's authors ask (arXiv 2308.16466): a slice for its
neighbors.

The slices that show the organ are cut into chunks of `width` neighbors. The middle one of a chunk
is labelled and adapted to, the others are segmented; so somebody labels a part of every volume, and
knows which slices show the organ. `labelled` says how many those are. Where the organ vanishes from
the middle slice at the network's size (at COMMON, if that is smaller), the nearest of its chunk in
which it does not is labelled instead.
"""

from collections.abc import Callable, Sequence, Set
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import UInt8

from jaxmeta.data.shards.shards import Shards, load_masks
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.supports import COMMON
from jaxmeta.evaluation.trial import Query, Support, query, support_of
from jaxmeta.splits.split import Entry, Pool
from jaxmeta.tasks.slice_chunks import chunked, refuse_narrow


class Volume(NamedTuple):
    """A volume to be asked of, and for each of its chunks who gives and which slices are asked."""

    query: Query
    truth: UInt8[np.ndarray, "N S S"]  # at the network's size
    supports: tuple[Support, ...]  # of one slice each
    asked: tuple[tuple[int, ...], ...]  # slices of the volume; no slice twice, and none that gives


class Within(NamedTuple):
    """One organ of one data set under test; `queries` are loaded when called, one at a time."""

    organ: str
    dataset: str
    entry: Entry
    queries: tuple[Callable[[], Volume], ...]
    labelled: int  # support slices
    asked: int  # slices that are segmented and scored
    shown: int  # slices that show the organ


def trials_within(
    pool: Pool, *, width: int, size: int, mm: float | None = None
) -> tuple[Within, ...]:
    """Make what is asked of every entry of the pool.

    Raises BadInput where no volume of an organ has a second slice to ask.
    """
    refuse_narrow(width, 1)
    made = []
    for entry in pool.entries:
        scans = {v: slices for held in entry.patients.values() for v, slices in held}
        read = dict(structure=entry.organ, size=min(size, COMMON), spacing=mm)
        chunks_cut = {
            v: chunks_of(pool.shards, v, slices, width, **read) for v, slices in scans.items()
        }
        asked = {v: chunks for v, chunks in chunks_cut.items() if chunks}
        if not asked:
            raise BadInput(
                f"no volume shows {entry.organ} in two slices: nothing to ask within one"
            )
        load = partial(load_within, pool, entry, size=size, mm=mm)
        given = sum(len(chunks) for chunks in asked.values())
        others = sum(len(others) for chunks in asked.values() for _, others in chunks)
        shown = sum(map(len, scans.values()))
        queries = tuple(partial(load, v, chunks) for v, chunks in asked.items())
        made.append(Within(entry.organ, entry.dataset, entry, queries, given, others, shown))
    return tuple(made)


def chunks_of(
    shards: Shards, volume: int, slices: Sequence[int] | np.ndarray, width: int, **read
) -> list[tuple[int, list[int]]]:
    """Cut a volume's slices into chunks, each with a support slice in which the organ can be
    seen."""
    slices = sorted(int(n) for n in slices)
    seen = load_masks(shards, volume, slices, **read).any((1, 2))
    return cut_chunks(
        slices, {n for n, any_pixel in zip(slices, seen, strict=True) if any_pixel}, width
    )


def cut_chunks(slices: Sequence[int], seen: Set[int], width: int) -> list[tuple[int, list[int]]]:
    """Cut slices into chunks, each with a support slice out of `seen`, the nearest to its middle.

    Each slice that does not give goes to the first chunk that has it. Chunks in which nobody can
    give, or nobody is left to ask, are left out.
    """
    runs = [
        sorted({n for _, n in chunk}) for chunk in chunked([(0, n) for n in slices], width, width)
    ]
    chunks_cut, taken, chosen = [], set(), []
    for run in runs:
        middle = len(run) // 2
        able = [place for place, n in enumerate(run) if n in seen and n not in taken]
        if able:
            support_slice = run[min(able, key=lambda place: abs(place - middle))]
            taken.add(support_slice)
            chosen.append((support_slice, run))
    for support_slice, run in chosen:
        own = [n for n in run if n not in taken]
        taken.update(own)
        if own:
            chunks_cut.append((support_slice, own))
    return chunks_cut


def load_within(
    pool: Pool,
    entry: Entry,
    volume: int,
    chunks: Sequence[tuple[int, list[int]]],
    *,
    size: int,
    mm: float | None,
) -> Volume:
    """Read a volume and the support slices."""
    scan = pool.shards.volumes[volume]
    supports = tuple(
        support_of(pool.shards, entry.organ, [(volume, n)], (scan.patient,), size=size, mm=mm)
        for n, _ in chunks
    )
    asked = tuple(tuple(others) for _, others in chunks)
    whole = query(pool.shards, volume, entry.organ, size=size, mm=mm)
    every = range(len(whole.target))
    truth = load_masks(pool.shards, volume, every, entry.organ, size=size, spacing=mm)
    return Volume(whole, truth, supports, asked)


def budget(trials: Sequence[Within]) -> str:
    """Say how much of what is segmented somebody labels first."""
    told = ", ".join(
        f"{trial.organ} {trial.labelled} of {trial.shown} ({trial.asked} asked)" for trial in trials
    )
    return f"slices labelled, of those that show the organ: {told}"
