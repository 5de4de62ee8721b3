"""What the code released with MetaMedSeg does otherwise than its paper, wrapped around the method.

For comparison only: nothing of it stands in the method itself.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, Float

Weights = Callable[[dict], Float[Array, " T"]]


def compounding(task_weights: Weights) -> Weights:
    """Make of weights the coefficients of the released code, which multiplies the running sum by
    each weight after its addition: prod_{j >= i} W_j in the order of the tasks."""
    return lambda statistics: jnp.cumprod(task_weights(statistics)[::-1])[::-1]
