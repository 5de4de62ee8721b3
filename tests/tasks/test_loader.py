"""Batches are the episodes in order, however they are shared out, read ahead, stopped or
resumed."""

import json

import jax
import numpy as np
import pytest
from orbax.checkpoint import v1 as ocp

from jaxmeta.errors import BadInput
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import split
from jaxmeta.tasks.episodes import EpisodeShape
from jaxmeta.tasks.loader import task_batches
from jaxmeta.tasks.source import episodes, load_task

SHAPE = EpisodeShape(shots=2, queries=3, size=16)


@pytest.fixture(scope="module")
def training(shards):
    return pool(shards, split(shards, test_organs=["spleen"], val_organs=[], seed=0), "train")


def batches(pool, count, **options):
    iterator = task_batches(episodes(pool, SHAPE), **(dict(seed=5, tasks=4) | options))
    return [next(iterator) for _ in range(count)]


def same(one, other):
    jax.tree.map(np.testing.assert_array_equal, one, other)
    return True


def test_a_batch_is_its_episodes_stacked(training):
    for step, batch in enumerate(batches(training, 3)):
        tasks = [load_task(episodes(training, SHAPE), 5, step * 4 + i) for i in range(4)]
        assert same(batch, jax.tree.map(lambda *leaves: np.stack(leaves), *tasks))
    assert batch.support.image.shape == (4, 2, 16, 16, 1)
    assert batch.query.valid.shape == (4, 3) and batch.task_id.shape == (4, 2)
    assert all(isinstance(leaf, np.ndarray) for leaf in jax.tree.leaves(batch))


def test_other_seeds_give_other_batches(training):
    (one,), (other,) = batches(training, 1), batches(training, 1, seed=6)
    assert (one.key != other.key).all()
    assert not np.array_equal(one.support.image, other.support.image)


@pytest.mark.parametrize("count", [2, 4])
def test_processes_partition_every_batch(training, count):
    whole = batches(training, 3)
    parts = [
        batches(training, 3, process_index=index, process_count=count) for index in range(count)
    ]
    for step, batch in enumerate(whole):
        shares = [part[step] for part in parts]
        assert all(share.task_id.shape == (4 // count, 2) for share in shares)
        woven = jax.tree.map(lambda *a: np.stack(a, 1).reshape(-1, *a[0].shape[1:]), *shares)
        assert same(woven, batch)


@pytest.mark.parametrize("stop", [0, 1, 5])
def test_resuming_equals_never_stopping(training, stop):
    iterator = task_batches(episodes(training, SHAPE), seed=5, tasks=4)
    for _ in range(stop):
        next(iterator)
    state = json.loads(json.dumps(iterator.get_state()))
    resumed = task_batches(episodes(training, SHAPE), seed=5, tasks=4)
    resumed.set_state(state)
    for batch in batches(training, stop + 3)[stop:]:
        assert same(next(resumed), batch)
        assert same(next(iterator), batch)


def test_threads_and_read_ahead_change_nothing(training):
    for one, other in zip(
        batches(training, 6, threads=1, prefetch=1),
        batches(training, 6, threads=8, prefetch=16),
        strict=True,
    ):
        assert same(one, other)


def test_the_place_is_kept_in_an_orbax_checkpoint(training, tmp_path):
    iterator = task_batches(episodes(training, SHAPE), seed=5, tasks=4)
    next(iterator), next(iterator)
    with ocp.training.Checkpointer(tmp_path / "checkpoints") as checkpointer:
        checkpointer.save_checkpointables(2, {"data": iterator})
    resumed = task_batches(episodes(training, SHAPE), seed=5, tasks=4)
    with ocp.training.Checkpointer(tmp_path / "checkpoints") as checkpointer:
        checkpointer.load_checkpointables(2, {"data": resumed})
    assert same(next(resumed), batches(training, 3)[2])


@pytest.mark.slow
def test_workers_make_the_same_batches(training):
    iterator = task_batches(episodes(training, SHAPE), seed=5, tasks=4, workers=2)
    try:
        made = [next(iterator) for _ in range(4)]
        state = json.loads(json.dumps(iterator.get_state()))
    finally:
        iterator.close()
    for one, other in zip(made, batches(training, 4), strict=True):
        assert same(one, other)
    resumed = task_batches(episodes(training, SHAPE), seed=5, tasks=4, workers=2)
    try:
        resumed.set_state(state)
        assert same(next(resumed), batches(training, 5)[4])
    finally:
        resumed.close()


def test_tasks_that_processes_cannot_share_are_refused(training):
    with pytest.raises(BadInput, match=r"5 tasks a step cannot be shared by 2 process"):
        task_batches(episodes(training, SHAPE), seed=0, tasks=5, process_index=0, process_count=2)


def test_a_shape_that_the_pool_cannot_fill_is_refused_before_the_first_batch(training):
    with pytest.raises(BadInput, match="shots asked"):
        episodes(training, SHAPE._replace(shots=500))
