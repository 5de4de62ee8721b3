"""MetaMedSeg's losses against sums by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.losses.of_slices import LOSSES, slice_loss
from jaxmeta.losses.segmentation import hard_iou
from tests.helpers.small import MODEL, small_task

# p = 1/2 everywhere, two of six pixels in the mask
LOGITS, MASK = jnp.zeros((2, 3)), jnp.array([[1.0, 1, 0], [0, 0, 0]])
J = (1 + 1) / (3 + 2 - 1 + 1)
BCE, LOG2 = np.log(2), np.log(2)
WEIGHTED = (2 * 2 + 4) / 6 * LOG2  # the two pixels count 4 / 2 times
BY_HAND = {
    "iou": 1 - J,
    "bce": BCE,
    "bce_weighted": WEIGHTED,
    "combined": (1 - J) / 2 + WEIGHTED / 2,
    "combined2": WEIGHTED - np.log(2 * J / (J + 1)),
    "tversky": 1 - (1 + 1) / (1 + 0.2 * 2 + 0.8 * 1 + 1),
}


@pytest.mark.parametrize("name", LOSSES)
def test_each_loss_is_the_sum_by_hand(name):
    assert LOSSES[name](LOGITS, MASK) == pytest.approx(BY_HAND[name], rel=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_mask_and_huge_logits_are_finite(name):
    for logits in (LOGITS, 90 + LOGITS, -90 + LOGITS):
        assert np.isfinite(LOSSES[name](logits, 0 * MASK))
        assert np.isfinite(LOSSES[name](logits, 1 + 0 * MASK))


def test_a_set_s_loss_is_the_mean_of_its_valid_slices():
    variables, support = MODEL.init(jax.random.key(0)), small_task(1).support
    loss = slice_loss(MODEL, LOSSES["iou"])
    each = []
    for n in range(2):  # the third only fills the shape
        logits = MODEL.apply(variables, support.image[n : n + 1])[0][0, ..., 0]
        each.append(LOSSES["iou"](logits, support.mask[n].astype(jnp.float32)))
    assert loss(variables, support, None) == pytest.approx(np.mean(each), rel=1e-5)


def test_iou_of_slices_is_one_where_both_are_empty_and_near_zero_where_nothing_is_found():
    valid, mask = jnp.ones(1, bool), jnp.ones((1, 4, 4), jnp.uint8)
    assert hard_iou(-jnp.ones((1, 4, 4)), jnp.zeros((1, 4, 4), jnp.uint8), valid) == 1
    assert hard_iou(-jnp.ones((1, 4, 4)), mask, valid) == pytest.approx(1e-4 / 16, rel=1e-2)
