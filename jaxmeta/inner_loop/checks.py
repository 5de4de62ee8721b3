"""What an inner loop cannot be made of, refused in words before anything is compiled."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import PyTree

from jaxmeta.inner_loop.parameters import named


def scalar(loss: Callable) -> Callable:
    """Make the same loss, which raises ValueError where it gives anything but one number."""

    def checked(*given):
        value = loss(*given)
        if jnp.shape(value):
            raise ValueError(
                f"the inner loss has the shape {jnp.shape(value)}: it must be one number, its mean "
                "for instance"
            )
        return value

    return checked


def check_floating(phi: PyTree) -> None:
    """Raise ValueError for parameters that no gradient can move, naming them."""
    still = [
        f"{name} ({jnp.result_type(leaf)})"
        for name, leaf in named(phi).items()
        if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating)
    ]
    if still:
        raise ValueError(
            f"only floating parameters can be adapted, not {', '.join(still)}: keep counters and "
            "tables out of the model's variables, or name the parts to adapt"
        )


def check_differentiable(update: optax.GradientTransformation, phi: PyTree) -> None:
    """Raise ValueError for an update that has no derivative where an entry of a gradient is 0.

    Such is Adam's square root at `eps_root=0`: the meta-gradient would be NaN as soon as one unit
    of the network is dead. The update is tried on a tree like phi with two entries a leaf. A rule
    that closes over arrays like phi, or over values that are not known yet, cannot be tried: it
    passes.
    """

    def pairs(*values):
        return jax.tree.map(lambda leaf: jnp.array(values, leaf.dtype), phi)

    def first_update(g):
        return update.update(g, update.init(pairs(1, 1)), pairs(1, 1))[0]

    try:
        with jax.ensure_compile_time_eval():
            _, carry_back = jax.vjp(first_update, pairs(0, 1))
            slopes = jax.tree.leaves(carry_back(pairs(1, 1)))
            defined = all(np.isfinite(slope).all() for slope in slopes)
    except (TypeError, ValueError):
        return
    if not defined:
        raise ValueError(
            "the inner optimizer has no derivative where a gradient is 0: give Adam and its kin "
            "eps_root, for instance optax.adam(rate, eps_root=1e-8), or take order=1"
        )
