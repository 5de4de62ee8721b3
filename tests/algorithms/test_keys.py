"""No random number is drawn twice: a key is used up once, whatever is built of it."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmeta.algorithms import ssm_sam
from jaxmeta.augmentation.augment import Augmentation, augment, varied
from jaxmeta.learners.episodic import episodic
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.tasks.task import Examples, Task
from tests.helpers.keys import used_keys, used_twice
from tests.helpers.matrix import CASES, pixel_loss
from tests.helpers.one_number import SHOWN, TASK
from tests.helpers.small import small_batch

NOTHING = Augmentation(*[0.0] * 13)
ALL = Augmentation(flip=0.5, invert=0.5, curve=0.1, shift=0.1, elastic=0.01, elastic_cells=2)
# What the loss of a network with changes of its own draws; without a warp, which is slow to
# compile.
OWN = replace(NOTHING, gain=0.1, offset=0.1, noise=0.1)


def changing(model):
    """Make a loss that draws."""
    return varied(pixel_loss(model), OWN)


def learning(algorithm, how):
    """Make the learner of an algorithm whose tasks are changed."""
    return episodic(
        algorithm,
        optax.sgd(0.1),
        lambda outer, **options: over_tasks(outer, chunk=1, **options),
        augment=lambda task: augment(task, how),
    )


QUICK = ("imaml",)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in CASES]
)
def test_a_step_uses_up_every_key_once(name):
    few = dict(steps=2) if "steps" in CASES[name].has else {}
    refuse_reuse(CASES[name].make(changing, **few), small_batch(2))


@pytest.mark.slow
def test_a_step_of_ssm_sam_uses_up_every_key_once():
    batch = jax.tree.map(lambda a: jnp.stack([a, a]), TASK)
    keys = jnp.asarray([[1, 2], [3, 4]], jnp.uint32)
    refuse_reuse(ssm_sam(SHOWN, chunk=2, passes=1), batch._replace(key=keys))


def refuse_reuse(algorithm, batch):
    """Make a step with every kind of augmentation, and look at all keys that it used."""
    with used_keys() as seen:
        learner = learning(algorithm, ALL)
        state = jax.jit(learner.init)(jax.random.key(7))
        jax.block_until_ready(jax.jit(learner.step)(state, batch))
        made = {what for places in seen.values() for what, _ in places}
        assert {"split", "bernoulli", "uniform", "normal", "truncated_normal"} <= made
    assert not used_twice(seen)


def test_the_record_knows_two_places_from_one():
    """As it was: a fold that is somebody else's split."""
    with used_keys() as seen:
        key = jax.random.key(3)
        jax.random.uniform(jax.random.fold_in(key, 1))
        jax.random.normal(jax.random.split(key)[1])
    assert len(used_twice(seen)) == 2  # the key itself, and what was made of it twice
    with used_keys() as seen:
        key = jax.random.key(3)
        jax.random.fold_in(key, 1)
        jax.random.fold_in(key, 2)
    assert not used_twice(seen)
    with used_keys() as seen:
        jax.random.fold_in(key, 1)
        jax.random.fold_in(key, 1)  # the same key, made at another place
    assert len(used_twice(seen)) == 1
    with used_keys() as seen:
        jax.lax.map(jax.random.normal, jax.random.split(jax.random.key(3)))
    assert len(seen) == 3 and not used_twice(seen)


def test_in_ssm_sam_no_mirror_says_where_the_first_point_lies():
    """Of 200 tasks with a mask that is its own mirror image: every mirror image with every half."""
    image = np.zeros((2, 16, 16, 1), np.float32)
    image[:, 0, 0] = 8.0
    mask = np.zeros((2, 16, 16), np.uint8)
    mask[:, [2, 13]] = 1
    slices = Examples(*map(jnp.asarray, (image, mask, np.ones(2, bool), mask)))
    seen = []

    def apply(frozen, learned, prefix, points, mask, *, key=None):
        if points.shape[1] == 5 and key is not None:  # of the query's loss
            jax.debug.callback(
                lambda i, p: seen.append((i[0, ..., 0].argmax(), p[0, 0, 1])), prefix.tokens, points
            )
        return SHOWN.apply(frozen, learned, prefix, points, mask, key=key)

    algorithm = ssm_sam(SHOWN._replace(apply=apply), chunk=2, passes=0)
    learner = learning(algorithm, replace(NOTHING, flip=0.5))
    count = 200
    many = jax.tree.map(lambda a: jnp.broadcast_to(a[None], (count, *a.shape)), slices)
    raw = np.random.default_rng(0).integers(0, 2**32, (count, 2), dtype=np.uint32)
    batch = Task(many, many, jnp.asarray(raw), jnp.zeros((count, 2), jnp.int32))
    state = jax.jit(learner.init)(jax.random.key(0))
    jax.block_until_ready(jax.jit(learner.step)(state, batch))
    jax.effects_barrier()
    corners, rows = np.asarray([(int(c), float(y)) for c, y in seen], float).T
    mirrored = corners >= 128  # its rows
    assert 0.25 < mirrored.mean() < 0.75
    assert abs(np.corrcoef(mirrored, rows > 8)[0, 1]) < 4 / np.sqrt(count)
