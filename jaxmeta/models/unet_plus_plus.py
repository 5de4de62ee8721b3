"""UNet++ (Zhou et al. 2018, arXiv 1807.10165), a U-Net whose skips are filled with blocks.

    X(i, j) = block(X(i, 0), ..., X(i, j - 1), upsampled X(i + 1, j - 1))    level i, column j

X(0, last) is what the output is made of. Blocks of two 3x3 convolutions with bias, 2x2 max
pooling, bilinear upsampling that keeps the corners; kernels drawn as PyTorch draws them, biases 0,
for a normalization follows. At the published widths it has 36,628,481 parameters. GroupNorm by
default; BatchNorm, as published, has running statistics, which go in and out of `apply` as its
`state`.
"""

from collections.abc import Callable, Sequence
from functools import partial

import flax.linen as nn
import jax.numpy as jnp

from jaxmeta.models.batch_norm import STATISTICS, BatchNorm
from jaxmeta.models.layers import Convolution, GroupNorm, double_bilinear, max_pool
from jaxmeta.models.model import Model, halving

# Uniform within 1 / sqrt(fan in): PyTorch's kaiming_uniform with a = sqrt(5).
UNIFORM = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


class PlusBlock(nn.Module):
    """Twice: convolve, normalize, activate."""

    features: int
    norm: Callable
    activation: Callable

    @nn.compact
    def __call__(self, x):
        for number in (1, 2):
            x = Convolution(self.features, UNIFORM, bias=True, name=f"conv_{number}")(x)
            x = self.activation(self.norm(name=f"norm_{number}")(x))
        return x


class UNetPlusPlus(nn.Module):
    """The network; `widths` are the channels of each level, from full resolution down."""

    widths: Sequence[int]
    classes: int
    groups: int  # of GroupNorm; 0: BatchNorm
    activation: Callable
    pool: Callable
    output_bias: float

    @nn.compact
    def __call__(self, x, train: bool = False):
        norm = partial(GroupNorm, self.groups) if self.groups else partial(BatchNorm, train)
        levels = len(self.widths)
        grid = [[] for _ in range(levels)]

        def block(level: int, inputs):
            name = f"block_{level}_{len(grid[level])}"
            made = PlusBlock(self.widths[level], norm, self.activation, name=name)
            grid[level].append(made(jnp.concatenate(inputs, axis=-1)))

        for level in range(levels):
            block(level, [self.pool(grid[level - 1][0]) if level else x])
        for column in range(1, levels):
            for level in range(levels - column):
                block(level, [*grid[level], double_bilinear(grid[level + 1][column - 1])])
        bias = nn.initializers.constant(self.output_bias)
        return nn.Dense(self.classes, kernel_init=UNIFORM, bias_init=bias, name="head")(grid[0][-1])


def unet_plus_plus(
    widths: Sequence[int] = (64, 128, 256, 512, 1024),
    *,
    classes: int = 1,
    groups: int = 8,
    activation: Callable = nn.relu,
    pool: Callable = max_pool,
    output_bias: float = 0.0,
) -> Model:
    """Make a UNet++ of `len(widths)` levels, as published without deep supervision.

    With `groups` 0 it has BatchNorm: `state()` begins its running statistics, `apply(variables,
    image, state=..., train=True)` normalizes by the batch and gives them moved on, and without
    `train` by them. `apply` raises ValueError where a side of the image is not a multiple of
    2^(levels - 1).
    """
    widths = tuple(widths)
    module = UNetPlusPlus(widths, classes, groups, activation, pool, output_bias)
    return halving(module, len(widths), collection="" if groups else STATISTICS)
