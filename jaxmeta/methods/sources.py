"""Where the tasks of a method come from, by the kind of tasks that its configuration asks for."""

from typing import Any

from jaxmeta.errors import BadInput
from jaxmeta.methods.options import Chunks, Episodes, Volumes
from jaxmeta.splits.decathlon import decathlon_pool
from jaxmeta.splits.pool import Pool
from jaxmeta.tasks.episodes import EpisodeShape
from jaxmeta.tasks.slice_chunks import Cut, chunks_within
from jaxmeta.tasks.source import (
    Source,
    episodes,
    neighbors,
    pooled,
    shown,
    supervoxel_tasks,
    synthetic,
    volumes,
)
from jaxmeta.tasks.volumetric import balanced, with_pixels


def few_shot_source(config: Any, drawn: Pool, *, training: bool = True) -> Source:
    """Draw episodes, supervoxels, synthetic cohorts or volumes of who may be drawn.

    All but episodes and volumes are for training alone: who validates by slices of the patients who
    give the support, or of nobody, measures something else.
    """
    tasks, shape = config.tasks, shape_of(config.tasks)
    if training and tasks.kind == "supervoxels":
        return supervoxel_tasks(drawn, shape, least=tasks.least_pixels)
    if training and tasks.kind == "synthetic":
        return synthetic(drawn)
    drawn = eligible(tasks, drawn)
    if isinstance(tasks, Episodes):
        return episodes(drawn, shape)
    drawn = drawn if tasks.decathlon else balanced(drawn)
    return (pooled if tasks.kind == "pooled" and training else volumes)(drawn, shape)


def chunk_source(
    tasks: Chunks, drawn: Pool, *, training: bool, cut: Cut = chunks_within, clicks: int = 0
) -> Source:
    """Draw chunks of neighboring slices.

    They are validated as new structures are met: by what one slice tells of its neighbors.
    """
    drawn, shape = eligible(tasks, drawn), shape_of(tasks)
    if training:
        return neighbors(drawn, shape, width=tasks.width, stride=tasks.stride, cut=cut)
    return shown(drawn, shape, width=tasks.width, clicks=clicks)


def shape_of(tasks: Any) -> EpisodeShape:
    """Say how large a task is."""
    shape = EpisodeShape(tasks.shots, tasks.queries, tasks.size, tasks.mm)
    if not isinstance(tasks, Episodes):
        return shape
    own = ("support_patients", "query_patients", "negative_fraction")
    return shape._replace(**{name: getattr(tasks, name) for name in own})


def eligible(tasks: Any, drawn: Pool) -> Pool:
    """Keep the slices and structures that count."""
    if tasks.least_pixels > 1:
        drawn = with_pixels(drawn, tasks.least_pixels)
        if not drawn.entries:
            raise BadInput(f"`tasks.least_pixels={tasks.least_pixels}`: no slice has as many")
    return decathlon_pool(drawn) if isinstance(tasks, Volumes) and tasks.decathlon else drawn
