"""MetaMedSeg's U-Net (arXiv 2109.09734, after Dawoud et al. 2020): three levels, instance
normalization.

Twice two convolutions with bias, each normalized image by image and channel by channel without
learned scales; bilinear upsampling that keeps the corners; kernels drawn from N(0, 1). 470,977
parameters.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax.numpy as jnp

from jaxmeta.models.layers import Convolution, GroupNorm, double_bilinear, max_pool
from jaxmeta.models.model import Model, halving

UNIT = nn.initializers.normal(1.0)


class InstanceBlock(nn.Module):
    """Twice: convolve, normalize, activate."""

    features: int
    activation: Callable

    @nn.compact
    def __call__(self, x):
        for number in (1, 2):
            x = Convolution(self.features, UNIT, bias=True, name=f"conv_{number}")(x)
            x = self.activation(GroupNorm(self.features, affine=False)(x))
        return x


class InstanceUNet(nn.Module):
    """The network; `widths` are the channels of each level, from full resolution down."""

    widths: Sequence[int]
    classes: int
    activation: Callable
    pool: Callable

    @nn.compact
    def __call__(self, x):
        kept = []
        for level, features in enumerate(self.widths):
            x = self.pool(x) if level else x
            x = InstanceBlock(features, self.activation, name=f"down_{level}")(x)
            kept.append(x)
        for level in reversed(range(len(self.widths) - 1)):
            x = jnp.concatenate([double_bilinear(x), kept[level]], axis=-1)
            x = InstanceBlock(self.widths[level], self.activation, name=f"up_{level}")(x)
        return nn.Dense(self.classes, kernel_init=UNIT, name="head")(x)


def instance_unet(
    widths: Sequence[int] = (32, 64, 128),
    *,
    classes: int = 1,
    activation: Callable = nn.relu,
    pool: Callable = max_pool,
) -> Model:
    """Make the paper's U-Net, which has one output.

    `apply` raises ValueError where a side of the image is not a multiple of 2^(levels - 1).
    """
    return halving(InstanceUNet(tuple(widths), classes, activation, pool), len(widths))
