"""The reader learns from synthetic cohorts to read supports of cohorts that it has not seen."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmeta.algorithms import in_context
from jaxmeta.algorithms.in_context import heights
from jaxmeta.cohorts.synthesize import CohortShape, synthesize
from jaxmeta.learners.episodic import episodic
from jaxmeta.losses.segmentation import hard_dice, segmentation_loss
from jaxmeta.models.reader import reader
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.tasks.task import Task

SHAPE = CohortShape(shots=5, queries=5, size=32)
STEPS, TASKS, FRESH = 200, 4, 64
QUICK = {"xla_backend_optimization_level": 1}  # what is trained for minutes is compiled to run


def test_heights_are_a_prompt_or_unknown():
    image = jnp.zeros((3, 8, 8, 1))
    assert heights((), image).tolist() == [-1, -1, -1]
    assert heights(jnp.array([0.0, 0.5, 1.0]), image).tolist() == [0, 0.5, 1]


def nearest_mask(task: Task):
    """Copy to each query slice the mask of the support slice that lies nearest."""
    apart = jnp.abs(task.query.prompt[:, None] - task.support.prompt[None])
    return task.support.mask[jnp.where(task.support.valid[None], apart, jnp.inf).argmin(1)]


@pytest.mark.slow
def test_trained_for_a_minute_it_beats_the_nearest_mask_by_what_the_support_tells():
    loss_of = partial(segmentation_loss, cross_entropy_weight=3.0)
    algorithm = in_context(reader((8, 16, 32), heads=4, rounds=1), loss_of)
    rule = optax.adamw(optax.warmup_constant_schedule(0.0, 3e-3, 30))
    rule = optax.chain(optax.clip_by_global_norm(1.0), rule)

    def made(task: Task) -> Task:
        return synthesize(0, task.task_id[0], SHAPE)._replace(key=task.key)

    learner = episodic(algorithm, rule, over_tasks, augment=made)

    def batch(number):
        index = np.arange(number * TASKS, (number + 1) * TASKS, dtype=np.int32)
        pair = np.stack([index, 0 * index], 1)
        return Task((), (), pair.astype(np.uint32), pair)

    @jax.jit
    def scored(state):
        predictor = learner.predictor(state)

        def each(index):
            told = SHAPE._replace(unknown=0.0)  # else the nearest mask is none
            task, other = (synthesize(1, n, told) for n in (index, index + 1))
            query = task.query

            def dice(logits):
                return hard_dice(logits, query.mask, query.valid)

            def read(support):
                phi = predictor.adapt(support, None)
                return dice(predictor.predict(phi, query.image, query.prompt)[..., 0])

            copied = dice(nearest_mask(task) * 2.0 - 1)
            return read(task.support), read(other.support), copied

        return jax.lax.map(each, jnp.arange(FRESH))

    state = jax.jit(learner.init)(jax.random.key(0))
    step = jax.jit(learner.step, donate_argnums=0).lower(state, batch(0)).compile(QUICK)
    for number in range(STEPS):
        state, _ = step(state, batch(number))
    own, permuted, copied = (np.asarray(dice) for dice in scored(state))
    gain = own - copied
    assert own.mean() > copied.mean() + 0.05, (own.mean(), copied.mean())
    assert gain.mean() > 2 * gain.std() / np.sqrt(FRESH)
    assert permuted.mean() < copied.mean() and permuted.mean() < own.mean() / 2
