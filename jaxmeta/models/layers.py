"""The layers of a network that is differentiated twice, on [N, H, W, C].

All but the convolution (`convolution.py`) is plain arithmetic. Pooling is a reshape, and upsampling
a part of the convolution that follows it, so that no windowed reduction or transposed convolution,
slow or imprecise in second order, stands on the adapted path. GroupNorm rather than BatchNorm: its
statistics belong to one image, so there is no state, nothing leaks from query to support or from
task to task, and support, query, training and test behave alike whatever the number of shots.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from jaxmeta.models.convolution import convolve, convolve_upsampled, written
from jaxmeta.numerics import maximum

EVERY = 8  # rows: what GroupNorm's first pass looks at


class Convolution(nn.Module):
    """3x3 convolution; without bias unless asked, for a normalization follows.

    `below`, of half the size, is seen upsampled, its channels before those of `image`: the same as
    upsampling it and concatenating both, with fewer products and nothing copied.
    """

    features: int
    kernel_init: Callable = nn.initializers.he_normal()
    bias: bool = False

    @nn.compact
    def __call__(
        self,
        image: Float[Array, "N H W C"],
        below: Float[Array, "N H//2 W//2 D"] | None = None,
    ) -> Float[Array, "N H W O"]:
        coarse = 0 if below is None else below.shape[-1]
        shape = (3, 3, coarse + image.shape[-1], self.features)
        kernel = self.param("kernel", self.kernel_init, shape)
        result = convolve(image, kernel[:, :, coarse:])
        if coarse:
            result += convolve_upsampled(below, kernel[:, :, :coarse])
        if self.bias:
            result += self.param("bias", nn.initializers.zeros, (self.features,))[None, None, None]
        return result


class GroupNorm(nn.Module):
    """Normalize each image by the mean and variance of each group of channels (arXiv 1803.08494).

    Var[x] = E[(x - c)^2] - (E[x] - c)^2 whatever constant c is. With c = 0 that is one pass, and
    where the mean is far from 0 the difference of two large numbers: nothing is left of it at a
    mean of 1000 spreads in float32, of 4 in bfloat16. So a first pass takes for c the mean of every
    `EVERY`-th row: then (E[x] - c)^2 <= EVERY Var[x], as no part of a sum of squares is more than
    the sum, and only the last digit is lost. No gradient goes through c, for nothing depends on it;
    derivatives of any order are those of the mean and the variance. The image itself is not moved,
    which would cost 5 % of a meta-step and gain what float32 rounds off at its mean.

    Moments are float32 at least, whatever the image is, sums over H W first, then over the group's
    channels; the affine map that results is applied in one multiply-add. With as many groups as
    channels this is instance normalization; without `affine` it has no parameters.
    """

    groups: int = 8
    epsilon: float = 1e-5
    affine: bool = True

    @nn.compact
    def __call__(self, image: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
        channels = image.shape[-1]
        groups = min(self.groups, channels)
        if channels % groups:
            raise ValueError(f"{channels} channels do not split into {groups} groups")
        scale, bias = jnp.ones(channels, image.dtype), jnp.zeros(channels, image.dtype)
        if self.affine:
            scale = self.param("scale", nn.initializers.ones, (channels,))
            bias = self.param("bias", nn.initializers.zeros, (channels,))
        dtype = jnp.result_type(image, scale, bias)

        def grouped(values):
            n, height, width, _ = values.shape
            sums = written.bind(values.sum((1, 2))).reshape(n, groups, -1).sum(-1)
            return sums / (height * width * (channels // groups))

        def by_channel(values):
            return jnp.repeat(values, channels // groups, axis=1)

        image = image.astype(jnp.promote_types(image.dtype, jnp.float32))
        near = by_channel(grouped(jax.lax.stop_gradient(image[:, ::EVERY])))
        around = image - near[:, None, None]
        mean = grouped(around)
        variance = maximum(grouped(around * around) - mean * mean, 0.0)
        mean, inverse = near + by_channel(mean), by_channel(jax.lax.rsqrt(variance + self.epsilon))
        slope = written.bind(inverse * scale[None])
        shift = written.bind(bias[None] - mean * slope)
        return (image * slope[:, None, None] + shift[:, None, None]).astype(dtype)


def max_pool(image: Float[Array, "N H W C"]) -> Float[Array, "N H//2 W//2 C"]:
    """Take the largest of every 2x2 pixels; of equals the first has the gradient."""
    view = blocks(image)
    rows = maximum(view[..., 0, :], view[..., 1, :])
    return maximum(rows[:, :, 0], rows[:, :, 1])


def mean_pool(image: Float[Array, "N H W C"]) -> Float[Array, "N H//2 W//2 C"]:
    """Take the mean of every 2x2 pixels: smooth, for checks against finite differences."""
    return blocks(image).mean((2, 4))


def double_bilinear(image: Float[Array, "N H W C"]) -> Float[Array, "N 2*H 2*W C"]:
    """Double both sides by linear interpolation, the corners' centers staying where they are."""
    rows, columns = (corner_aligned(n, 2 * n) for n in image.shape[1:3])
    return jnp.einsum("Hh,nhwc,Ww->nHWc", rows, image, columns)


def corner_aligned(known: int, wanted: int) -> Float[np.ndarray, "m n"]:
    """Make the matrix that interpolates between points, the first and the last among them."""
    at = np.linspace(0, known - 1, wanted)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(known))).astype(np.float32)


def blocks(image: Float[Array, "N H W C"]) -> Float[Array, "N H//2 2 W//2 2 C"]:
    """View an image as 2x2 blocks."""
    n, height, width, channels = image.shape
    return image.reshape(n, height // 2, 2, width // 2, 2, channels)
