"""The convolution against the library's own, and its derivatives against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxmeta.models.convolution import convolve
from small import on_arrays

NAMES = ("NHWC", "HWIO", "NHWC")


def drawn(height, width, dtype=np.float32):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, 6, 5, 3)).astype(dtype)
    kernel = rng.normal(size=(height, width, 3, 4)).astype(dtype)
    return jnp.asarray(image), jnp.asarray(kernel)


@pytest.mark.parametrize("height, width", [(1, 1), (3, 3), (5, 3), (1, 7)])
def test_it_is_the_same_size_correlation(x64, height, width):
    image, kernel = drawn(height, width, np.float64)
    expected = jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=NAMES)
    np.testing.assert_allclose(convolve(image, kernel), expected, rtol=1e-12, atol=1e-12)


def test_both_derivatives_hold_to_second_order_in_both_modes(x64):
    check_grads(
        on_arrays(convolve), drawn(3, 3, np.float64), order=2, modes=["fwd", "rev"], rtol=1e-6
    )


def test_vmap_over_kernels_equals_one_at_a_time():
    image, kernel = drawn(3, 3)
    images, kernels = jnp.stack([image, 2 * image]), jnp.stack([kernel, -kernel])
    together = jax.vmap(convolve)(images, kernels)
    for task in range(2):
        np.testing.assert_allclose(together[task], convolve(images[task], kernels[task]), atol=1e-5)


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="odd sides"):
        convolve(*drawn(2, 3))
