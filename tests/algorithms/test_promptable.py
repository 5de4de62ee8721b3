"""Segment Anything's own learning: which mask learns, where it is corrected, and what the gradient
is."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.algorithms.promptable import correction, mask_losses, promptable
from jaxmeta.models.sam import sam
from jaxmeta.models.sam.prompts import INSIDE, OUTSIDE, Prompts
from jaxmeta.tasks.task import Examples, Task
from tests.helpers.by_hand import begun
from tests.helpers.sizes import SMALL
from tests.helpers.small import along, in_float64, random_like

SIZE = SMALL._replace(width=4, depth=1, heads=1, whole=(0,), hidden=4)
LEARNER = promptable(sam(SIZE))
OUTER = jax.jit(LEARNER.outer)  # compiled once for all


def examples(seed):
    rng = np.random.default_rng(seed)
    image = jnp.asarray(rng.normal(size=(2, SIZE.image, SIZE.image, 1)), jnp.float32)
    mask = jnp.asarray(rng.random((2, SIZE.image, SIZE.image)) > 0.6, jnp.uint8)
    return Examples(image, mask, jnp.ones(2, bool))


TASK = Task(examples(0), examples(1), jnp.array([1, 2], jnp.uint32), jnp.zeros(2, jnp.int32))


def test_a_perfect_mask_of_known_quality_costs_nothing_and_the_opposite_a_lot():
    mask = jnp.array([[[1, 0], [0, 0]]])
    logits = jnp.where(mask > 0, 30.0, -30.0)[..., None] * jnp.array([1.0, -1.0])[None, None, None]
    losses = jax.jit(mask_losses)
    good, bad = losses(logits, jnp.array([[1.0, 0.0]]), mask)[0]
    assert good == pytest.approx(0, abs=1e-4) and bad > 1
    doubted = losses(logits, jnp.array([[0.5, 0.5]]), mask)[0]
    assert doubted[0] - good > 0.01  # that the quality was underrated


def test_a_correction_is_clicked_where_the_mask_is_wrong():
    mask, logits = np.zeros((2, 4, 4), np.uint8), np.full((2, 4, 4), -1.0, np.float32)
    mask[0, 1, 2] = logits[1, 3, 0] = 1
    given = jnp.asarray(logits), jnp.asarray(mask)
    told = jax.jit(correction)(Prompts(boxes=jnp.zeros((2, 4))), *given, jax.random.key(0))
    np.testing.assert_array_equal(told.points[:, 0], [[2, 1], [0, 3]])
    np.testing.assert_array_equal(told.labels[:, 0], [INSIDE, OUTSIDE])
    again = jax.eval_shape(correction, told, *given, jax.random.key(1))
    assert again.points.shape == (2, 2, 2)


@pytest.mark.slow
def test_the_direction_is_the_slope_of_the_loss(x64):
    """Between the kinks: where which mask is best, and what is wrong with it, stays as it is.

    The frequencies are no part of the meta-gradient: they are drawn once and stay.
    """
    meta = in_float64(begun(LEARNER.init))
    task = in_float64(TASK)
    towards = random_like(meta.learned)
    towards["theta"]["prompt_encoder"]["frequencies"] *= 0
    meta_gradient, told = OUTER(meta, task)

    def loss(step):
        moved = jax.tree.map(lambda a, d: a + step * d, meta.learned, towards)
        return float(OUTER(meta._replace(learned=moved), task)[1]["loss"])

    slope = (loss(1e-6) - loss(-1e-6)) / 2e-6
    assert along(meta_gradient, towards) == pytest.approx(slope, rel=1e-4)
    assert np.isfinite(told["grad_norm"]) and told["grad_norm"] > 0
    assert not meta_gradient["theta"]["prompt_encoder"]["frequencies"].any()


@pytest.mark.slow
def test_a_box_teaches_the_mask_that_answers_it_and_a_click_the_other_three():
    """Hypernetwork n makes mask n; the correction, which is neither, teaches the first mask too."""
    meta = begun(LEARNER.init)

    def taught(task):
        meta_gradient = OUTER(meta, task)[0]["theta"]["mask_decoder"]
        of = [meta_gradient[f"output_hypernetworks_mlps_{n}"] for n in range(4)]
        return [any(leaf.any() for leaf in jax.tree.leaves(each)) for each in of]

    blind = TASK.support._replace(valid=jnp.zeros(2, bool))
    assert taught(TASK._replace(support=blind)) == [True, False, False, False]
    assert taught(TASK)[0] and any(taught(TASK)[1:])


@pytest.mark.slow
def test_slices_without_a_structure_teach_nothing():
    meta = begun(LEARNER.init)
    bare = jax.tree.map(lambda a: a, TASK)
    empty = TASK.support._replace(mask=TASK.support.mask * 0)
    other = empty._replace(image=-empty.image)
    one, two = (OUTER(meta, bare._replace(support=each))[0] for each in (empty, other))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_only_what_is_pointed_at_is_segmented():
    meta = begun(LEARNER.init)
    image, predict = TASK.query.image, jax.jit(LEARNER.predict)
    with pytest.raises(ValueError, match="give a box"):
        predict(meta, (), image)
    boxes = jnp.array([[1.0, 1.0, 9.0, 9.0], [4.0, 4.0, 15.0, 12.0]])
    found = predict(meta, (), image, boxes)
    assert found.shape == (2, SIZE.image, SIZE.image, 1)
    other = predict(meta, (), image, boxes.at[0].add(3.0))
    np.testing.assert_array_equal(other[1], found[1])
    assert np.abs(other[0] - found[0]).max() > 1e-5
