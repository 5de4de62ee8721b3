"""The U-Net's layers and shape."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxmeta.models import unet
from jaxmeta.models.layers import Convolution, GroupNorm, max_pool, mean_pool
from tests.helpers.by_hand import begun
from tests.helpers.small import on_arrays


@pytest.fixture(scope="module")
def image():
    return jnp.asarray(np.random.default_rng(0).normal(size=(2, 8, 12, 6)), jnp.float32)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_group_norm_equals_the_library_s(image, groups):
    ours, theirs = GroupNorm(groups), nn.GroupNorm(groups, epsilon=1e-5)
    params = {"scale": jnp.linspace(0.5, 2, 6), "bias": jnp.linspace(-1, 1, 6)}
    both = jax.jit(lambda x: [norm.apply({"params": params}, x) for norm in (ours, theirs)])
    np.testing.assert_allclose(*both(3 + 2 * image), atol=2e-5)


def test_fewer_channels_than_groups_make_a_group_each(image):
    params = {"scale": jnp.ones(6), "bias": jnp.zeros(6)}
    got = GroupNorm(8).apply({"params": params}, image)
    np.testing.assert_allclose(got.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(got.std((1, 2)), 1, atol=1e-3)


def test_pooling_equals_the_library_s(image):
    np.testing.assert_array_equal(max_pool(image), nn.max_pool(image, (2, 2), (2, 2)))
    np.testing.assert_allclose(mean_pool(image), nn.avg_pool(image, (2, 2), (2, 2)), atol=1e-6)


def test_what_comes_from_below_is_seen_upsampled_before_the_image(image):
    layer, below = Convolution(5), image[:, :4, :6, :2]
    variables = begun(layer.init, image, below)
    large = jnp.repeat(jnp.repeat(below, 2, 1), 2, 2)
    apply = jax.jit(layer.apply)
    whole = apply(variables, jnp.concatenate([large, image], -1))
    np.testing.assert_allclose(apply(variables, image, below), whole, atol=1e-5)


def test_group_norm_is_twice_differentiable(x64):
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 2, 2, 4)))
    params = {"scale": jnp.linspace(0.5, 2, 4), "bias": jnp.linspace(-1, 1, 4)}
    norm = jax.jit(on_arrays(lambda p, x: GroupNorm(2).apply({"params": p}, x)))
    check_grads(norm, (params, image), order=2, rtol=1e-4)


def test_the_yardstick_s_network_has_its_number_of_parameters():
    shapes = jax.eval_shape(unet((16, 32, 64, 128)).init, jax.random.key(0))
    # convolutions and norms of 4 + 3 blocks, by hand, and the head
    down = sum(9 * i * o + 9 * o * o + 4 * o for i, o in [(1, 16), (16, 32), (32, 64), (64, 128)])
    up = sum(9 * (2 * o + o) * o + 9 * o * o + 4 * o for o in (16, 32, 64))
    assert sum(a.size for a in jax.tree.leaves(shapes)) == down + up + 17


@pytest.mark.parametrize("widths, classes", [((4,), 1), ((2, 4, 6), 3)])
def test_depth_widths_and_outputs_are_free(widths, classes):
    model = unet(widths, classes=classes, output_bias=-2.0)
    variables = jax.jit(model.init)(jax.random.key(0))
    logits, state = jax.jit(model.apply)(variables, jnp.zeros((3, 8, 12, 1)))
    assert logits.shape == (3, 8, 12, classes) and state == ()
    # a black image is normalized to nothing: what is left is the prior
    np.testing.assert_allclose(logits, -2.0, atol=1e-5)


def test_sides_that_do_not_halve_are_refused_with_their_sizes():
    model = unet((2, 4, 8))
    variables = jax.eval_shape(model.init, jax.random.key(0))
    with pytest.raises(ValueError, match="multiples of 4, these slices are 10 x 8"):
        jax.eval_shape(model.apply, variables, jnp.zeros((1, 10, 8, 1)))


def test_images_of_a_batch_do_not_see_each_other():
    model = unet((2, 4))
    variables = begun(model.init)
    images = jnp.asarray(np.random.default_rng(0).normal(size=(3, 8, 8, 1)), jnp.float32)
    apply = jax.jit(model.apply)
    changed = apply(variables, images.at[1].set(0.0))[0]
    same = apply(variables, images)[0]
    np.testing.assert_array_equal(changed[jnp.array([0, 2])], same[jnp.array([0, 2])])
    assert (changed[1] != same[1]).any()
