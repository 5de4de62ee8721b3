"""The support's mask as the decoder sees it: 1 inside, a soft halo around it.

As released: a wide blur, then three narrower ones, the structure set to 1 after each; widths for
slices of 512 pixels, and in proportion for others. Blurring is a product with a banded matrix on
either side.
"""

import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

WIDE, NARROW, ROUNDS = 101, 51, 3  # pixels of the kernels at 512, and how often the narrow one


def halo(mask: Shaped[Array, "N S S"]) -> Float[Array, "N S S"]:
    """Blur masks; those without a pixel stay 0."""
    inside, side = mask > 0, mask.shape[1]
    value = jnp.where(inside, 1.0, blurred(inside.astype(jnp.float32), WIDE * side / 512))
    for _ in range(ROUNDS):
        value = jnp.where(inside, 1.0, blurred(value, NARROW * side / 512))
    low = value.min((1, 2), keepdims=True)
    span = value.max((1, 2), keepdims=True) - low
    return jnp.where(span > 0, (value - low) / jnp.where(span > 0, span, 1.0), value)


def blurred(image: Float[Array, "N S S"], pixels: float) -> Float[Array, "N S S"]:
    """Blur by a Gaussian kernel about so many pixels wide, mirrored at the border."""
    matrix = jnp.asarray(blur_matrix(image.shape[1], kernel_size(pixels)))
    return jnp.einsum("ij,njk,lk->nil", matrix, image, matrix)


def kernel_size(pixels: float) -> int:
    """Round to the nearest odd number, at least 3."""
    return max(3, 2 * round((pixels - 1) / 2) + 1)


@functools.cache
def blur_matrix(side: int, kernel: int) -> Float[np.ndarray, "S S"]:
    """Make the matrix of a 1-D blur; sigma follows from the kernel as in OpenCV: 15.5 for 101."""
    sigma, half = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8, kernel // 2
    offsets = np.arange(-half, half + 1)
    weights = np.exp(-(offsets**2) / (2 * sigma**2))
    weights /= weights.sum()
    at = np.arange(side)[:, None] + offsets
    period = max(1, 2 * (side - 1))
    at = side - 1 - np.abs(at % period - (side - 1))  # ... 2 1 | 0 1 2 ... S-1 | S-2 ...
    matrix = np.zeros((side, side))
    np.add.at(matrix, (np.repeat(np.arange(side), kernel), at.ravel()), np.tile(weights, side))
    return matrix.astype(np.float32)
