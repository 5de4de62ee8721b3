"""MetaMedSeg's network: its size, its layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import zoom

from jaxmeta.models import instance_unet
from jaxmeta.models.layers import GroupNorm, double_bilinear
from tests.helpers.by_hand import drawn


def test_the_paper_s_network_has_470977_parameters_and_gives_one_map():
    model = instance_unet()
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert sum(a.size for a in jax.tree.leaves(shapes)) == 470_977
    image = jax.ShapeDtypeStruct((1, 256, 256, 1), jnp.float32)
    assert jax.eval_shape(model.apply, shapes, image)[0].shape == (1, 256, 256, 1)


def test_kernels_begin_with_unit_variance_and_biases_at_zero():
    # jit drops whatever is not asked for
    layer = jax.jit(lambda key: instance_unet().init(key)["down_2"]["conv_2"])(jax.random.key(0))
    assert float(np.std(layer["kernel"])) == pytest.approx(1, rel=0.02)
    assert not np.any(layer["bias"])


def test_doubling_keeps_the_corners_and_is_linear_between_them():
    image = np.random.default_rng(0).normal(size=(1, 3, 4, 1)).astype(np.float32)
    large = double_bilinear(jnp.asarray(image))
    assert large[0, 0, 0, 0] == pytest.approx(image[0, 0, 0, 0])
    assert large[0, -1, -1, 0] == pytest.approx(image[0, -1, -1, 0], rel=1e-5)
    expected = zoom(image[0, ..., 0].astype(np.float64), 2, order=1, grid_mode=False)
    np.testing.assert_allclose(large[0, ..., 0], expected, atol=1e-5)


def test_instance_normalization_has_no_parameters_and_no_mean():
    image = 3 + drawn(2, 8, 8, 4)
    norm = GroupNorm(4, affine=False)
    assert not norm.init(jax.random.key(0), image)
    found = np.asarray(norm.apply({}, image))
    np.testing.assert_allclose(found.mean((1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(found.std((1, 2)), 1, atol=1e-3)
