"""What the code released with MetaMedSeg does otherwise than its paper, wrapped around the method.

For comparison only: nothing of it stands in the method itself.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmeta.options import options

Weights = Callable[[dict], Float[Array, " T"]]


@options
class Released:
    """What the code released with the paper does otherwise; for comparison only."""

    compounding: bool = False
    """Multiply earlier tasks by the weights of all later tasks of a step too."""


def weighed(how: Released, task_weights: Weights | None, alike: Weights) -> Weights | None:
    """Choose how tasks are weighted; `alike` are weights for what has none."""
    return compounding(task_weights or alike) if how.compounding else task_weights


def compounding(task_weights: Weights) -> Weights:
    """Make of weights the coefficients of the released code, which multiplies the running sum by
    each weight after its addition: prod_{j >= i} W_j in the order of the tasks."""
    return lambda statistics: jnp.cumprod(task_weights(statistics)[::-1])[::-1]
