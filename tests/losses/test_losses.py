"""Losses against numbers worked out by hand, and on masks that are empty."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxmeta.algorithms.promptable import mask_losses
from jaxmeta.algorithms.prototypes import unit
from jaxmeta.algorithms.ssm_sam import chunk_loss
from jaxmeta.losses.of_slices import LOSSES, slice_loss
from jaxmeta.losses.segmentation import cross_entropy, hard_dice, segmentation_loss, soft_dice
from jaxmeta.models.model import Model
from jaxmeta.tasks.task import Examples
from tests.helpers.small import MODEL, on_arrays, small_task

ALL = jnp.ones(1, bool)


def of_slice(name):
    """Make a loss of MetaMedSeg a function of logits, masks and what is valid."""

    def loss(logits, mask, valid):
        model = Model(None, lambda variables, *_, **__: (logits[..., None], ()))
        return slice_loss(model, LOSSES[name])((), Examples(logits, mask, valid), None)

    return loss


SUMMED = dict(cross_entropy=cross_entropy, soft_dice=soft_dice, chunk=chunk_loss)
SUMMED |= {name: of_slice(name) for name in LOSSES}
SUMMED["masks"] = lambda logits, mask, valid: mask_losses(
    logits[..., None], logits[:, :1, 0] / 8, mask
).mean()


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_of_logits_at_half_precision_a_loss_is_what_it_is_at_full(kind):
    """320 x 320 pixels, most of them foreground: a sum of them has no number in float16."""
    rng = np.random.default_rng(0)
    mask = jnp.asarray(rng.random((1, 320, 320)) > 0.1, jnp.uint8)
    logits = jnp.asarray(4.0 * np.asarray(mask) - 1 + rng.normal(size=mask.shape), kind)
    for name, loss in SUMMED.items():
        found, wanted = (loss(z, mask, ALL) for z in (logits, logits.astype(jnp.float32)))
        np.testing.assert_allclose(found, wanted, rtol=1e-5, err_msg=name)
    long = jnp.full((1, 300), 16.0, kind)
    np.testing.assert_allclose((unit(long) ** 2).sum(), 1, rtol=1e-4)


def test_cross_entropy_of_a_doubtful_prediction_is_log_2():
    mask = jnp.array([[[0, 1], [1, 0]]])
    assert cross_entropy(jnp.zeros((1, 2, 2)), mask, ALL) == pytest.approx(np.log(2), abs=1e-6)


def test_soft_dice_by_hand():
    # s = 1/2 everywhere, two of four pixels: 1 - (2 * 1 + 1) / (2 + 2 + 1)
    mask = jnp.array([[[0, 1], [1, 0]]])
    assert soft_dice(jnp.zeros((1, 2, 2)), mask, ALL) == pytest.approx(0.4, abs=1e-6)


def test_hard_dice_by_hand():
    logits = jnp.array([[[1.0, 1.0], [1.0, -1.0]]])
    assert hard_dice(logits, jnp.array([[[0, 1], [1, 0]]]), ALL) == pytest.approx(0.8)
    assert hard_dice(-jnp.ones((1, 2, 2)), jnp.zeros((1, 2, 2), int), ALL) == 1.0


@pytest.mark.parametrize("function", [cross_entropy, soft_dice])
def test_empty_masks_and_invalid_slices_are_finite_to_second_order(x64, function):
    logits, mask = jnp.asarray(np.random.default_rng(0).normal(size=(2, 2, 2))), np.zeros((2, 2, 2))
    valid = jnp.array([[True, True], [False, False]])

    @jax.jit
    def both(z):
        return jnp.stack([function(z, jnp.asarray(mask, int), each) for each in valid])

    check_grads(on_arrays(both), (logits,), order=2, rtol=1e-5)
    assert np.isfinite(both(logits)).all()


@pytest.mark.parametrize("function", [cross_entropy, soft_dice, hard_dice])
def test_slices_that_are_not_valid_count_for_nothing(function):
    rng = np.random.default_rng(0)
    logits = jnp.asarray(rng.normal(size=(3, 4, 4)), jnp.float32)
    mask = jnp.asarray(rng.integers(0, 2, (3, 4, 4)))
    some = function(logits, mask, jnp.array([True, True, False]))
    np.testing.assert_allclose(some, function(logits[:2], mask[:2], jnp.ones(2, bool)), rtol=1e-6)


def test_confident_and_right_is_cheap_confident_and_wrong_is_dear():
    mask = jnp.array([[[0, 1], [1, 0]]])
    right = jnp.where(mask > 0, 20.0, -20.0)
    for function in (cross_entropy, soft_dice):
        assert function(right, mask, ALL) < 1e-4
        assert function(-right, mask, ALL) > 0.7


def test_weights_scale_the_parts():
    task, variables = small_task(), MODEL.init(jax.random.key(0))
    parts = [
        segmentation_loss(MODEL, cross_entropy_weight=float(c), dice_weight=float(d))(
            variables, task.support, None
        )
        for c, d in ((1, 0), (0, 1), (3, 2))
    ]
    np.testing.assert_allclose(parts[2], 3 * parts[0] + 2 * parts[1], rtol=1e-6)
