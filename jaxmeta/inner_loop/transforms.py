"""Update rules that can be differentiated twice, and with respect to what scales them.

Each is an optax transformation, to be chained with optax's own.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

from jaxmeta.numerics import maximum


def clip_norm(limit: float) -> optax.GradientTransformation:
    """Scale gradients down whose global norm is above `limit`.

    As `optax.clip_by_global_norm`, whose derivative is NaN where the whole gradient is 0: the
    norm's square root is only taken where it is at least `limit`.
    """

    def update(updates, state, params=None):
        squared = optax.tree.norm(updates, squared=True)
        factor = limit * jax.lax.rsqrt(maximum(squared, limit**2))
        return jax.tree.map(lambda u: (factor * u).astype(u.dtype), updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by(alpha: float | PyTree) -> optax.GradientTransformation:
    """Multiply updates by a number, or leaf by leaf by a tree like the parameters."""

    def update(updates, state, params=None):
        if jax.tree.structure(alpha) == jax.tree.structure(0):  # whole, traced or not
            return jax.tree.map(lambda u: alpha * u, updates), state
        return jax.tree.map(lambda a, u: a * u, alpha, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)


def scale_by_step(rates: PyTree) -> optax.GradientTransformation:
    """Multiply updates by the rate of the step, leaf by leaf; beyond the last step by the last
    one's."""

    def update(updates, made, params=None):
        now = jax.tree.map(lambda a: a[jnp.minimum(made, len(a) - 1)], rates)
        return jax.tree.map(jnp.multiply, now, updates), made + 1

    return optax.GradientTransformation(lambda params: jnp.zeros((), jnp.int32), update)
