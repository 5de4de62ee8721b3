"""How algorithms of the MAML family use the inner loop: any part of the network, rates of any
kind."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from jaxmeta.inner_loop.adapt import adapt
from jaxmeta.inner_loop.parameters import part_of
from jaxmeta.inner_loop.plan import whole_support
from jaxmeta.inner_loop.rematerialise import Memory
from jaxmeta.tasks.task import Examples


def adapt_part(
    loss: Callable,
    theta: PyTree,
    names: Sequence[str],
    support: Examples,
    factors: Float[np.ndarray, " S"],
    *,
    update: optax.GradientTransformation,
    key: Array,
    order: int,
    memory: Memory,
    watch: Callable[[PyTree], Any] | None = None,
) -> tuple[PyTree, tuple[Float[Array, " S"], Any]]:
    """Let `adapt` move what lies under `names`, on the whole support; returns the whole network."""
    moved, whole = part_of(theta, names)
    phi, trace = adapt(
        lambda part, *given: loss(whole(part), *given),
        moved,
        support,
        whole_support(support, len(factors))._replace(rate=factors),
        update=update,
        key=key,
        order=order,
        memory=memory,
        watch=watch and (lambda part: watch(whole(part))),
    )
    return whole(phi), trace


def falling(count: int, steps: int, decay: float) -> Float[np.ndarray, " S"]:
    """Factors of `count` steps' rates: 1 for the `steps` of training, then `decay` from step to
    step."""
    beyond = np.maximum(np.arange(count) - steps + 1, 0)
    return np.float32(decay) ** beyond.astype(np.float32)
