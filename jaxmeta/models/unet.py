"""U-Net (Ronneberger et al. 2015, arXiv 1505.04597) for 2-D slices, as a pair of pure functions.

Two loops: down through blocks of two convolutions, keeping each result; up again, beside what was
kept. Same-size convolutions, GroupNorm, nearest upsampling, so that the 3x3 convolution at stride 1
is the only convolution there is.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn

from jaxmeta.models.layers import Convolution, GroupNorm, max_pool
from jaxmeta.models.model import Model, halving


class Block(nn.Module):
    """Twice: convolve, normalize, activate; the first convolution sees what comes from below
    too."""

    features: int
    groups: int
    activation: Callable

    @nn.compact
    def __call__(self, x, below=None):
        for number, beside in ((1, below), (2, None)):
            x = Convolution(self.features, name=f"conv_{number}")(x, beside)
            x = self.activation(GroupNorm(self.groups, name=f"norm_{number}")(x))
        return x


class UNet(nn.Module):
    """The network; `widths` are the channels of each level, from full resolution down."""

    widths: Sequence[int]
    classes: int
    groups: int
    activation: Callable
    pool: Callable
    output_bias: float
    head_init: Callable

    @nn.compact
    def __call__(self, x):
        kept = []
        for level, features in enumerate(self.widths):
            x = self.pool(x) if level else x
            x = Block(features, self.groups, self.activation, name=f"down_{level}")(x)
            kept.append(x)
        for level in reversed(range(len(self.widths) - 1)):
            block = Block(self.widths[level], self.groups, self.activation, name=f"up_{level}")
            x = block(kept[level], x)
        bias = nn.initializers.constant(self.output_bias)
        return nn.Dense(self.classes, kernel_init=self.head_init, bias_init=bias, name="head")(x)


def unet(
    widths: Sequence[int] = (16, 32, 64, 128),
    *,
    channels: int = 1,
    classes: int = 1,
    groups: int = 8,
    activation: Callable = nn.relu,
    pool: Callable = max_pool,
    output_bias: float = 0.0,
    head_init: Callable = nn.linear.default_kernel_init,
) -> Model:
    """Make a U-Net of `len(widths)` levels.

    `output_bias` is the logit that the untrained network gives everywhere: about log(p / (1 - p))
    for structures that fill a share p of a slice spares hundreds of steps in which everything is
    background. `head_init` makes the output layer's kernel: with zeros the bias is all there is.

    `apply` raises ValueError where a side of the image is not a multiple of 2^(levels - 1).
    """
    module = UNet(tuple(widths), classes, groups, activation, pool, output_bias, head_init)
    return halving(module, len(widths), channels)
