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
    found, expected = jax.jit(lambda *a: (convolve(*a), library_s(*a)))(image, kernel)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


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
    other = np.random.default_rng(1).normal(size=(*image.shape[:3], out))

    @jax.jit
    def everything(image, kernel, other):
        expected, pull = jax.vjp(lambda k: library_s(image, k), kernel)
        forms = [form(image, kernel, padding=(1, 1)) for form in (on_processor, as_product)]
        slope = gradient_as_product(image, other, padding=(1, 1))
        tasks = [jnp.stack([a, 2 * a]) for a in (image, kernel, other)]
        of_tasks = as_product(*tasks[:2], padding=(1, 1))[1]
        slope_of_tasks = gradient_as_product(*tasks[::2], padding=(1, 1))[1]
        return expected, pull(other)[0], forms, slope, of_tasks, slope_of_tasks

    values = everything(image, kernel, other)
    expected, expected_slope, forms, slope, of_tasks, slope_of_tasks = values
    close = dict(rtol=1e-10, atol=1e-10)
    for form in forms:
        np.testing.assert_allclose(form, expected, **close)
    np.testing.assert_allclose(slope, expected_slope, **close)
    np.testing.assert_allclose(of_tasks, 4 * np.asarray(expected), **close)
    np.testing.assert_allclose(slope_of_tasks, 4 * np.asarray(expected_slope), **close)


@pytest.mark.parametrize("out", [2, 32])
def test_an_upsampled_image_is_convolved_without_making_it(x64, out):
    image, kernel = drawn(3, 3, 3, out, np.float64)

    @jax.jit
    def everything(image, kernel):
        large = upsampled(image)
        return mean_pool(large), convolve(large, kernel), convolve_upsampled(image, kernel)

    small, expected, found = everything(image, kernel)
    np.testing.assert_array_equal(small, image)
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("function", [convolve, convolve_upsampled])
def test_both_derivatives_hold_to_second_order_in_both_modes(x64, function):
    values = drawn(3, 3, dtype=np.float64, size=(4, 3))
    check_grads(jax.jit(on_arrays(function)), values, order=2, modes=["fwd", "rev"], rtol=1e-6)


@pytest.mark.parametrize("axes", [(0, 0), (None, 0), (0, None), (1, 3)])
def test_vmap_equals_one_at_a_time(axes):
    image, kernel = drawn(3, 3)
    values = [
        a if axis is None else jnp.stack([a, 2 * a, -a], axis)
        for a, axis in zip((image, kernel), axes, strict=True)
    ]
    factors = np.array([1, 2, -1]) ** sum(axis is not None for axis in axes)
    together = jax.jit(jax.vmap(convolve, axes))(*values)
    alone = np.asarray(jax.jit(convolve)(image, kernel))
    for task, factor in enumerate(factors):
        np.testing.assert_allclose(together[task], factor * alone, atol=1e-5)


def test_an_even_kernel_is_refused():
    with pytest.raises(ValueError, match="odd sides"):
        convolve(*drawn(2, 3))
