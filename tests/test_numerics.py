"""The larger of two values, and a network that pools by it, have the slope of one of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.losses.segmentation import segmentation_loss
from jaxmeta.models import unet
from jaxmeta.models.layers import max_pool
from jaxmeta.numerics import maximum, rank
from jaxmeta.tasks.task import Examples


def test_it_is_the_larger_and_the_first_of_equals_has_the_slope():
    a, b = jnp.array([1.0, 5.0, 2.0]), jnp.array([4.0, 3.0, 2.0])
    found, back = jax.vjp(maximum, a, b)
    np.testing.assert_array_equal(found, jnp.maximum(a, b))
    slopes = back(jnp.ones(3))
    np.testing.assert_array_equal(slopes, [[0, 1, 1], [1, 0, 0]])


@pytest.mark.parametrize("other", [-jnp.inf, 0.0, jnp.inf, jnp.nan])
def test_what_is_no_number_is_never_hidden_by_a_number(other):
    """As IEEE 754's maximum has it, on either side; and a number's slope is not touched by it."""
    nan = jnp.full(1, jnp.nan)
    assert np.isnan(maximum(nan, other)).all() and np.isnan(maximum(jnp.full(1, other), nan)).all()


def test_a_pixel_that_is_no_number_is_never_pooled_away():
    spoilt = np.ones((1, 4, 4, 1), np.float32)
    spoilt[0, 1, 2, 0] = np.nan
    pooled = np.asarray(jax.jit(max_pool)(jnp.asarray(spoilt)))[0, ..., 0]
    np.testing.assert_array_equal(np.isnan(pooled), [[False, True], [False, False]])


def test_it_is_differentiated_twice_by_which_it_was():
    def square(a, b):
        return (maximum(a, b) ** 2).sum()

    a, b = jnp.array([1.0, 5.0]), jnp.array([4.0, 3.0])
    np.testing.assert_array_equal(jax.grad(square, (0, 1))(a, b), [[0, 10], [8, 0]])
    np.testing.assert_array_equal(jax.jit(jax.hessian(square, 1))(a, b), [[2, 0], [0, 0]])


def test_of_every_2x2_pixels_one_has_the_slope_the_first_of_equals_row_by_row():
    image = jnp.array([[0.0, 1, 2, 2], [1, 0, 2, 2], [3, 1, 0, 0], [0, 2, 0, 7]])
    slopes = jax.grad(lambda x: max_pool(x[None, ..., None]).sum())(image)
    wanted = [[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]]
    np.testing.assert_array_equal(slopes, wanted)


@pytest.mark.slow
def test_slopes_of_a_network_are_the_same_however_hard_the_compiler_tries():
    """Without LLVM's optimization what is pooled is computed twice and rounded differently."""
    rng = np.random.default_rng(0)
    image = jnp.asarray(rng.normal(size=(2, 16, 16, 1)), jnp.float32)
    mask = jnp.asarray(rng.random((2, 16, 16)) > 0.7, jnp.uint8)
    model = unet((4, 8), groups=2)
    loss, variables = segmentation_loss(model), model.init(jax.random.key(0))

    def slopes(level):
        how = {"xla_backend_optimization_level": level}
        of = jax.grad(lambda v: loss(v, Examples(image, mask, jnp.ones(2, bool)), None))
        return jax.jit(of, compiler_options=how)(variables)

    for a, b in zip(jax.tree.leaves(slopes(0)), jax.tree.leaves(slopes(1)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)


def test_a_score_that_is_no_number_is_never_the_best():
    """Wherever it stands among the others; among its own kind one is."""
    nan = float("nan")
    for scores in ([nan, 0.5, 0.7], [0.7, nan, 0.5], [0.5, 0.7, nan]):
        assert max(scores, key=rank) == 0.7
    assert rank(max([nan, nan], key=rank)) == -float("inf")
