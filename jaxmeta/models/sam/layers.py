"""Layers of a vision transformer that `flax.linen` has not, or not twice differentiable at
speed."""

from collections.abc import Callable

import flax.linen as nn
from jaxtyping import Array, Float

from jaxmeta.models.convolution import convolve

NORM = 1e-6  # epsilon of the image encoder's norms, and of those over an image's channels


def times(x: Float[Array, "*any C"], kernel: Float[Array, "C D"]) -> Float[Array, "*any D"]:
    """Multiply the last axis by a matrix, as one product of two matrices.

    Of a product with several leading axes XLA contracts all of them for the kernel's gradient,
    which on a processor is a loop of scalars: 4.5 times as slow as this for a map from 128 to 512
    channels.
    """
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


class LayerNorm(nn.LayerNorm):
    """Normalize over the last axis, by the mean of (x - mean)^2.

    Flax's own takes E[x^2] - mean^2 unless told: in float32 nothing is left of it at a mean of a
    few thousand spreads.
    """

    use_fast_variance: bool = False


class Dense(nn.Module):
    """An affine map of the last axis, as one product of two matrices."""

    features: int
    use_bias: bool = True
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, x: Float[Array, "*any C"]) -> Float[Array, "*any D"]:
        out = times(x, self.param("kernel", self.kernel_init, (x.shape[-1], self.features)))
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            out += bias.reshape(*[1] * (x.ndim - 1), -1)
        return out


def gelu(x: Array) -> Array:
    """Gate by the normal distribution, exactly: x Phi(x)."""
    return nn.gelu(x, approximate=False)


class MLP(nn.Module):
    """Layers lin1, lin2 or layers_0, layers_1, ...: an activation after each but the last."""

    widths: tuple[int, ...]
    names: tuple[str, ...]
    activation: Callable

    @nn.compact
    def __call__(self, x):
        for number, (width, name) in enumerate(zip(self.widths, self.names, strict=True)):
            x = Dense(width, name=name)(self.activation(x) if number else x)
        return x


class Patches(nn.Module):
    """A convolution whose stride is its size: each patch of pixels becomes one token."""

    features: int
    size: int
    kernel_init: Callable = nn.initializers.lecun_normal()

    @nn.compact
    def __call__(self, image: Float[Array, "N H W C"]) -> Float[Array, "N h w F"]:
        n, height, width, channels = image.shape
        s = self.size
        kernel = self.param("kernel", self.kernel_init, (s, s, channels, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        patches = image.reshape(n, height // s, s, width // s, s, channels).swapaxes(2, 3)
        patches = patches.reshape(n, height // s, width // s, s * s * channels)
        return times(patches, kernel.reshape(-1, self.features)) + bias[None, None, None]


class TransposedConv(nn.Module):
    """A transposed convolution whose stride is its size: each pixel becomes a patch."""

    features: int
    size: int = 2

    @nn.compact
    def __call__(self, image: Float[Array, "N H W C"]) -> Float[Array, "N h w F"]:
        n, height, width, channels = image.shape
        s = self.size
        kernel = self.param(
            "kernel", nn.initializers.lecun_normal(), (s, s, channels, self.features)
        )
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        flat = kernel.transpose(2, 0, 1, 3).reshape(channels, -1)
        patches = times(image, flat).reshape(n, height, width, s, s, self.features).swapaxes(2, 3)
        return patches.reshape(n, height * s, width * s, self.features) + bias[None, None, None]


class Convolution3(nn.Module):
    """A 3x3 convolution without bias."""

    features: int

    @nn.compact
    def __call__(self, image: Float[Array, "N H W C"]) -> Float[Array, "N H W F"]:
        shape = (3, 3, image.shape[-1], self.features)
        return convolve(image, self.param("kernel", nn.initializers.lecun_normal(), shape))
