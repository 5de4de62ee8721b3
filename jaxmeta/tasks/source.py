"""Where tasks come from: what draws one by number, and what reads its pixels.

Every kind of task is a pure function of (seed, index), drawn first and read later, so the loader,
the trainer and whoever wants to know a task's name see all kinds alike.
"""

import itertools
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from jaxmeta.bounding_boxes import box_around
from jaxmeta.splits.pool import Pool
from jaxmeta.tasks.episodes import (
    Episode,
    EpisodeShape,
    Slice,
    checked_shape,
    draw_episode,
    load_episode,
)
from jaxmeta.tasks.slice_chunks import (
    Cut,
    chunks_within,
    draw_chunks,
    load_chunks,
    load_shown,
    refuse_narrow,
    showing,
)
from jaxmeta.tasks.supervoxels import draw_supervoxel
from jaxmeta.tasks.synthetic import draw_number, load_number
from jaxmeta.tasks.task import Task
from jaxmeta.tasks.volumetric import draw_pooled, draw_volume


class Source(NamedTuple):
    """draw(seed, index) names a task's slices, load(episode, seed, index) reads them; both can be
    sent to another process."""

    pool: Pool
    draw: Callable[[int, int], Episode]
    load: Callable[[Episode, int, int], Task]
    on_device: bool = False  # the device makes all of a task of its number, prompts too


def episodes(pool: Pool, shape: EpisodeShape) -> Source:
    """Draw few-shot episodes: support and query of different patients.

    Raises BadInput where the pool cannot fill the shape.
    """
    shape = checked_shape(pool, shape)
    return Source(pool, partial(draw_episode, pool, shape), partial(load_episode, pool, shape))


def volumes(pool: Pool, shape: EpisodeShape) -> Source:
    """Draw volumetric tasks: the slices of one scan, `shape.shots` at most."""
    return Source(pool, partial(draw_volume, pool, shape), partial(load_episode, pool, shape))


def pooled(pool: Pool, shape: EpisodeShape) -> Source:
    """Draw standard tasks: `shape.shots` slices of any patients, with replacement."""
    return Source(pool, partial(draw_pooled, pool, shape), partial(load_episode, pool, shape))


def supervoxel_tasks(pool: Pool, shape: EpisodeShape, *, least: int = 1) -> Source:
    """Draw pieces of scans that nobody labelled, of at least `least` pixels in a slice."""
    draw = partial(draw_supervoxel, pool, least, shape)
    return Source(pool, draw, partial(load_episode, pool, shape))


def synthetic(pool: Pool) -> Source:
    """Draw nothing but a task's number: the device makes the rest of it (`jaxmeta/cohorts`)."""
    return Source(pool, draw_number, load_number, on_device=True)


def neighbors(
    pool: Pool, shape: EpisodeShape, *, width: int, stride: int, cut: Cut = chunks_within
) -> Source:
    """Draw chunks of `width` neighboring slices: `shape.shots` to adapt to, `shape.queries` to
    prove it.

    `cut` says how patients' scans become chunks.
    """
    refuse_narrow(width, stride)
    pool = showing(pool, shape)
    draw = partial(draw_chunks, pool, shape, width, stride, cut)
    return Source(pool, draw, partial(load_chunks, pool, shape, width))


def shown(pool: Pool, shape: EpisodeShape, *, width: int, clicks: int = 0) -> Source:
    """Draw chunks of neighboring slices one by one: the middle slice is the support, the others
    the query, each given so many clicks on its own structure.
    """
    refuse_narrow(width, 1)
    pool = showing(pool, shape)
    one = shape._replace(shots=1, queries=1)
    draw = partial(draw_chunks, pool, one, width, 1, chunks_within)
    return Source(pool, draw, partial(load_shown, pool, one, width, clicks))


def boxed(source: Source) -> Source:
    """Give each query slice of another source's tasks the box around its structure, for networks
    that ask."""
    return source._replace(load=partial(load_boxed, source.load))


def load_task(source: Source, seed: int, index: int) -> Task:
    """Make task `index` of a run: the pure function that every worker calls."""
    index = int(index)
    return source.load(source.draw(seed, index), seed, index)


def load_boxed(load: Callable, episode: Episode, seed: int, index: int) -> Task:
    """Read a task and box the structure in its query slices."""
    task = load(episode, seed, index)
    return task._replace(query=task.query._replace(prompt=box_around(task.query.mask)))


def describe_task(source: Source, seed: int, index: int) -> str:
    """Name a task to a person: what the trainer prints when a loss is not a number."""
    episode, volumes = source.draw(seed, index), source.pool.shards.volumes
    if not episode.support:
        return f"task {index} (seed {seed}): a {episode.dataset} cohort"

    def scans(slices: Sequence[Slice]) -> str:
        return ", ".join(
            f"{volumes[volume].name} slices {' '.join(str(n) for _, n in group)}"
            for volume, group in itertools.groupby(sorted(slices), key=lambda at: at[0])
        )

    return (
        f"task {index} (seed {seed}): organ {episode.organ} of {episode.dataset}, "
        f"support {scans(episode.support)}; query {scans(episode.query)}"
    )
