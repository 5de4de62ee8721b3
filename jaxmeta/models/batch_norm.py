"""BatchNorm (Ioffe and Szegedy 2015, arXiv 1502.03167), for what was published with it.

Its statistics are of a batch in training and running ones else, so slices know of each other and
there is a state: no layer for an inner loop. As in PyTorch the running variance is the unbiased one
and moves by a tenth.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

STATISTICS = "batch_statistics"
RATE, EPSILON = 0.1, 1e-5


class BatchNorm(nn.Module):
    """Normalize each channel by the moments of a batch, in `train`ing, or by the running ones."""

    train: bool

    @nn.compact
    def __call__(self, image: Float[Array, "N H W C"]) -> Float[Array, "N H W C"]:
        channels = image.shape[-1]
        scale = self.param("scale", nn.initializers.ones, (channels,))
        bias = self.param("bias", nn.initializers.zeros, (channels,))
        running_mean = self.variable(STATISTICS, "mean", jnp.zeros, channels, image.dtype)
        running_variance = self.variable(STATISTICS, "variance", jnp.ones, channels, image.dtype)
        mean, variance = running_mean.value, running_variance.value
        if self.train:
            mean = image.mean((0, 1, 2))
            variance = ((image - mean[None, None, None]) ** 2).mean((0, 1, 2))
            if self.is_mutable_collection(STATISTICS) and not self.is_initializing():
                count = image.size // channels
                unbiased = variance * (count / max(1, count - 1))
                running_mean.value += RATE * (mean - running_mean.value)
                running_variance.value += RATE * (unbiased - running_variance.value)
        slope = scale * jax.lax.rsqrt(variance + EPSILON)
        return image * slope[None, None, None] + (bias - mean * slope)[None, None, None]
