"""The convolution against the library's own, its forms against each other, and its derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxmeta.models.convolution import (
    as_product,
    convolve,
    convolve_upsampled,
    gradient_as_product,
    on_processor,
)
from jaxmeta.models.layers import mean_pool
from tests.helpers.small import on_arrays

NAMES = ("NHWC", "HWIO", "NHWC")


def drawn(height, width, channels=3, out=4, dtype=np.float32, size=(6, 5)):
    rng = np.random.default_rng(0)
    image = rng.normal(size=(2, *size, channels)).astype(dtype)
    kernel = rng.normal(size=(height, width, channels, out)).astype(dtype)
    return jnp.asarray(image), jnp.asarray(kernel)


def library_s(image, kernel, padding="SAME"):
    return jax.lax.conv_general_dilated(image, kernel, (1, 1), padding, dimension_numbers=NAMES)


def upsampled(image):
    return jnp.repeat(jnp.repeat(image, 2, 1), 2, 2)


@pytest.mark.parametrize("height, width", [(1, 1), (3, 3), (5, 3), (1, 7)])
def test_it_is_the_same_size_correlation(x64, height, width):
    image, kernel = drawn(height, width, dtype=np.float64)
    expected = library_s(image, kernel)
    np.testing.assert_allclose(convolve(image, kernel), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
    "channels, out, size",  # pixels that go together: 4, 2, 2, 1, 1, 1
    [
        (1, 1, (4, 8)),
        (6, 16, (4, 8)),
        (6, 8, (3, 6)),
        (6, 8, (2, 5)),
        (20, 8, (4, 8)),
        (6, 40, (2, 8)),
    ],
)
def test_every_form_of_every_width_is_the_same_convolution(x64, channels, out, size):
    """Also the gradient of the kernel, and with an axis of tasks where a form takes one."""
    image, kernel = drawn(3, 3, channels, out, np.float64, size)
    expected, pull = jax.vjp(lambda k: library_s(image, k), kernel)
    _, other = drawn(3, 3, channels, out, np.float64)
    other = jnp.resize(other, expected.shape)
    slope = pull(other)[0]
    close = dict(rtol=1e-10, atol=1e-10)
    for form in (on_processor, as_product):
        np.testing.assert_allclose(form(image, kernel, padding=(1, 1)), expected, **close)
    np.testing.assert_allclose(gradient_as_product(image, other, padding=(1, 1)), slope, **close)

    def two(a):
        return jnp.stack([a, 2 * a])

    tasks = as_product(two(image), two(kernel), padding=(1, 1))
    np.testing.assert_allclose(tasks[1], 4 * expected, **close)
    tasks = gradient_as_product(two(image), two(other), padding=(1, 1))
    np.testing.assert_allclose(tasks[1], 4 * slope, **close)


@pytest.mark.parametrize("out", [2, 32])
def test_an_upsampled_image_is_convolved_without_making_it(x64, out):
    image, kernel = drawn(3, 3, 3, out, np.float64)
    np.testing.assert_array_equal(mean_pool(upsampled(image)), image)
    expected = convolve(upsampled(image), kernel)
    np.testing.assert_allclose(convolve_upsampled(image, kernel), expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("function", [convolve, convolve_upsampled])
def test_both_derivatives_hold_to_second_order_in_both_modes(x64, function):
    values = drawn(3, 3, dtype=np.float64, size=(4, 3))
    check_grads(on_arrays(function), values, order=2, modes=["fwd", "rev"], rtol=1e-6)


@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (0, None), (1, 3)])
def test_vmap_equals_one_at_a_time(axes):
    image, kernel = drawn(3, 3)
    values = [
        a if axis is None else jnp.stack([a, 2 * a, -a], axis)
        for a, axis in zip((image, kernel), axes, strict=True)
    ]
    factors = np.array([1, 2, -1]) ** sum(axis is not None for axis in axes)
    together = jax.vmap(convolve, axes)(*values)
    for task, factor in enumerate(factors):
        np.testing.assert_allclose(together[task], factor * convolve(image, kernel), atol=1e-5)


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="odd sides"):
        convolve(*drawn(2, 3))
