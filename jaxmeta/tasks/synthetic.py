"""Tasks of synthetic cohorts, as the host knows them: a number, and nothing to read.

The device makes their slices of (seed, index) in each training step (`cohorts/synthesize.py`), so
that loading them costs nothing, while order, sharing over processes and resuming are those of all
tasks.
"""

import numpy as np

from jaxmeta.data.shards.shards import Shards
from jaxmeta.splits.pool import Entry, Pool
from jaxmeta.tasks.episodes import Episode, random_stream
from jaxmeta.tasks.task import Task

NAME = "synthetic"


def scanless_pool(shards: Shards) -> Pool:
    """Make a pool that draws from nobody: its one structure has no patients."""
    return Pool(shards, (Entry(NAME, "organ", {}, ""),))


def draw_number(seed: int, index: int) -> Episode:
    """Name a task of which the host knows no slice."""
    return Episode("organ", NAME, (), (), 0)


def load_number(episode: Episode, seed: int, index: int) -> Task:
    """Make a task without slices; its key comes from (seed, index), as every task's does."""
    key = random_stream(seed, index, 1).integers(2**32, size=2, dtype=np.uint32)
    return Task((), (), key, np.asarray([index, episode.number], np.int32))
