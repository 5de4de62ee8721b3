"""How algorithms of the MAML family use the inner loop: any part of the network, rates of any kind."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from jaxmeta.adapt import adapt, whole_support
from jaxmeta.memory import PLAIN, Memory
from jaxmeta.subtree import part_of
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
        # first order keeps only gradients: there is no activation to spare
        memory=memory if order == 2 else PLAIN,
        watch=watch and (lambda part: watch(whole(part))),
    )
    return whole(phi), trace


def falling(count: int, steps: int, decay: float) -> Float[np.ndarray, " S"]:
    """Factors of `count` steps' rates: 1 for the `steps` of training, then `decay` from step to step."""
    beyond = np.maximum(np.arange(count) - steps + 1, 0)
    return np.float32(decay) ** beyond.astype(np.float32)


def scale_by(alpha: float | PyTree) -> optax.GradientTransformation:
    """Multiply updates by a number, or leaf by leaf by a tree like the parameters."""

    def update(updates, state, params=None):
        if isinstance(alpha, float):
            return jax.tree.map(lambda u: alpha * u, updates), state
        return jax.tree.map(lambda a, u: a * u, alpha, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_step(rates: PyTree) -> optax.GradientTransformation:
    """Multiply updates by the rate of the step, leaf by leaf; beyond the last step by the last one's."""

    def update(updates, made, params=None):
        now = jax.tree.map(lambda a: a[jnp.minimum(made, len(a) - 1)], rates)
        return jax.tree.map(jnp.multiply, now, updates), made + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)
