"""What the steps of an inner loop do, as data: which examples, how far, and whether at all."""

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from jaxmeta.tasks.task import Examples


class Plan(NamedTuple):
    """What each of S steps does; tasks of different lengths run in one compiled scan."""

    index: Integer[Array, "S B"] | np.ndarray  # which support examples the step sees
    rate: Float[Array, " S"] | np.ndarray  # a factor on the step's update
    active: Bool[Array, " S"] | np.ndarray  # False: the step changes no bit of anything


def whole_support(support: Examples, steps: int) -> Plan:
    """Plan `steps` steps that each see every example."""
    shots = support.mask.shape[0]
    index = np.broadcast_to(np.arange(shots, dtype=np.int32), (steps, shots))
    return Plan(index, np.ones(steps, np.float32), np.ones(steps, bool))


def one_by_one(support: Examples, epochs: int, *, decay: float = 1.0, every: int = 1) -> Plan:
    """Plan `epochs` passes over the examples in their order, one a step; those not valid rest.

    The rate falls by the factor `decay` after every `every` epochs.
    """
    shots = support.mask.shape[0]
    index = np.tile(np.arange(shots, dtype=np.int32), epochs)[:, None]
    rate = np.repeat(np.float32(decay) ** (np.arange(epochs) // every), shots)
    return Plan(index, rate.astype(np.float32), jnp.tile(jnp.asarray(support.valid), epochs))


def all_active(plan: Plan) -> bool:
    """Say whether it is known, when the loop is compiled, that no step rests."""
    return isinstance(plan.active, np.ndarray) and bool(plan.active.all())


def decaying(count: int, steps: int, decay: float) -> Float[np.ndarray, " S"]:
    """Factors of `count` steps' rates: 1 for the `steps` of training, then `decay` from step to
    step."""
    beyond = np.maximum(np.arange(count) - steps + 1, 0)
    return np.float32(decay) ** beyond.astype(np.float32)
