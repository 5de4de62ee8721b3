"""Synthetic cohorts: the same numbers are the same task, and a task is what it says."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.cohorts.anatomy import AIR, CELLS, RIM, label, random_anatomy, random_subject
from jaxmeta.cohorts.appearance import is_organ, random_contrast
from jaxmeta.cohorts.synthesize import CohortShape, grid, spread, synthesize
from jaxmeta.tasks.source import describe_task, load_task, synthetic
from jaxmeta.tasks.synthetic import scanless_pool
from tests.helpers.cohorts import hospital

SHAPE = CohortShape(shots=3, queries=4, size=32)
COUNT = 48


@cache
def one():
    return jax.jit(lambda seed, index: synthesize(seed, index, SHAPE))


@cache
def many():
    """Make the tasks 0 .. 47 of seed 5, side by side."""
    return jax.device_get(jax.vmap(one(), (None, 0))(5, jnp.arange(COUNT)))


def test_the_same_numbers_are_the_same_task_alone_or_side_by_side():
    for index in (0, 31):
        alone = jax.device_get(one()(5, index))
        beside = jax.tree.map(lambda a: a[index], many())
        jax.tree.map(np.testing.assert_array_equal, alone, jax.device_get(one()(5, index)))
        np.testing.assert_array_equal(alone.key, beside.key)
        for ours, theirs in ((alone.support, beside.support), (alone.query, beside.query)):
            np.testing.assert_array_equal(ours.valid, theirs.valid)
            np.testing.assert_allclose(ours.prompt, theirs.prompt, atol=1e-6)
            # a point on a border may fall to either side
            assert np.mean(ours.mask != theirs.mask) < 2e-3
            assert np.mean(np.abs(ours.image - theirs.image) > 1e-3) < 2e-2


def test_other_numbers_are_other_tasks():
    first = one()(5, 0)
    for other in (one()(5, 1), one()(6, 0)):
        assert np.abs(first.support.image - other.support.image).mean() > 0.1
        assert (first.key != other.key).any()


def test_a_task_has_the_shapes_and_types_of_every_task():
    task = jax.tree.map(lambda a: a[0], many())
    for examples, count in ((task.support, 3), (task.query, 4)):
        assert examples.image.shape == (count, 32, 32, 1) and examples.image.dtype == np.float32
        assert examples.mask.shape == (count, 32, 32) and examples.mask.dtype == np.uint8
        assert examples.valid.shape == (count,) and examples.valid.dtype == bool
        assert examples.prompt.shape == (count,) and examples.prompt.dtype == np.float32
    assert task.key.shape == (2,) and task.key.dtype == np.uint32
    assert task.task_id.tolist() == [0, 0] and task.task_id.dtype == np.int32


def test_every_valid_support_slice_shows_the_organ_and_the_others_nothing():
    support = many().support
    areas = support.mask.sum((2, 3))
    assert (areas[support.valid] >= 2).all() and (support.mask <= 1).all()
    assert not areas[~support.valid].any() and not support.image[~support.valid].any()
    assert support.valid[:, 0].all() and support.valid.mean() > 0.9


def test_some_query_slices_lack_the_organ_in_the_share_that_was_asked():
    query = many().query
    shows = query.mask.any((2, 3))
    assert query.valid.all()
    assert shows.any(1).all() and 0.15 < 1 - shows.mean() < 0.4
    without = jax.vmap(lambda n: synthesize(1, n, SHAPE._replace(negative_fraction=0.0)))
    assert without(jnp.arange(12)).query.mask.any((2, 3)).mean() > 0.95


def test_heights_are_told_for_all_slices_of_a_task_or_for_none():
    support, query = many().support.prompt, many().query.prompt
    told = (support >= 0).all(1)
    assert (support[~told] == -1).all() and (query[~told] == -1).all()
    assert (query[told] >= 0).all() and (query <= 1).all() and (np.diff(support) >= 0).all()
    assert 0.6 < told.mean() < 1


def test_subjects_share_intensities_and_differ_in_shape():
    """What an organ looks like in the support tells what it looks like in the query; where it lies
    does so roughly."""
    tasks = many()

    def mean_inside(examples):
        inside = examples.mask * (examples.valid[..., None, None])
        return (examples.image[..., 0] * inside).sum((1, 2, 3)) / inside.sum((1, 2, 3))

    ours, theirs = mean_inside(tasks.support), mean_inside(tasks.query)
    assert np.corrcoef(ours, theirs)[0, 1] > 0.85
    overlaps = []
    for support, query in zip(tasks.support.mask.max(1), tasks.query.mask.max(1), strict=True):
        overlaps.append(2 * (support & query).sum() / (support.sum() + query.sum()))
    assert 0.2 < np.mean(overlaps) < 0.8 and max(overlaps) < 1


def test_images_are_normalized_over_the_body():
    values = many().query.image
    assert np.isfinite(values).all() and np.abs(values).max() <= 4
    assert 0.5 < values.std() < 2.5


def test_an_anatomy_packs_the_body_under_a_rim_with_air_around():
    points = grid(32, jnp.arange(0, 24, 4)).reshape(-1, 3)

    def labels(key):
        anatomy, subject = jax.random.split(key)
        return label(random_anatomy(anatomy), random_subject(subject), points)

    found = jax.device_get(jax.jit(jax.vmap(labels))(jax.random.split(jax.random.key(0), 8)))
    assert all(np.unique(each[each < CELLS]).size > 8 for each in found)
    assert np.isin(AIR, found) and np.isin(RIM, found) and found.max() == AIR


def test_organs_have_look_alikes():
    """Several pieces are of one tissue, and so nearly as bright; what fills is no organ."""
    contrast = jax.vmap(random_contrast)(jax.random.split(jax.random.key(1), 20))
    organ = jax.vmap(is_organ)(contrast)
    assert 0.5 < organ.mean() < 0.9
    for tissue, intensity, own in zip(contrast.tissue, contrast.intensity, organ, strict=True):
        names, counts = np.unique(tissue[:-2][own], return_counts=True)
        assert counts.max() > 1
        same = intensity[:-2][own & (tissue[:-2] == names[counts.argmax()])]
        assert np.ptp(same) < 0.15


@pytest.mark.parametrize("marked", [[0, 0, 0, 1, 0], [1, 1, 1, 1, 1], [0, 1, 0, 1, 1]])
def test_slices_are_spread_over_what_is_marked(marked):
    places = spread(jax.random.key(0), jnp.array(marked, bool), 4)
    assert all(marked[place] for place in places) and (np.diff(places) >= 0).all()
    assert len({*places.tolist()}) >= min(2, sum(marked))


def test_the_host_knows_a_task_by_its_number_alone():
    source = synthetic(scanless_pool(hospital()))
    task = load_task(source, 3, 7)
    assert task.support == task.query == () and task.task_id.tolist() == [7, 0]
    np.testing.assert_array_equal(task.key, load_task(source, 3, 7).key)
    assert describe_task(source, 3, 7) == "task 7 (seed 3): a synthetic cohort"
