"""What a differentiated inner loop keeps of its steps: the choice between memory and time.

    PLAIN   what every step's convolutions and products gave  most memory, fastest
    REMAT   parameters and optimizer state of every step      one more forward and backward a step
    MIXED   the same, and of second derivatives nothing       Hessian-vector products

PLAIN computes what lies between two convolutions, normalization and activation, a second time: on a
processor that is faster than writing it to memory and reading it back.

Reverse mode through a gradient first runs the whole gradient forwards, keeping what it computed of
both its passes. MIXED carries the meta-gradient back differently: for a cotangent v of the inner
gradient g(phi, c) = d L(phi, c) / d phi,

    v . d g / d (phi, c)  =  d/de  [d L / d (phi, c)] (phi + e v, c)  at e = 0,

one forward-mode derivative of one ordinary gradient, which keeps nothing once it has passed
(the idea of MixFlow-MG, Kemaev et al. 2025, arXiv 2505.00793). c is all that the loss sees besides
phi: examples, and whatever it closes over, such as a proximal anchor. The update rule around the
gradient is differentiated as ever, so rates, momenta and Adam's moments get their gradients too.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp


class Memory(NamedTuple):
    """How the inner loop is kept for its derivative."""

    keep: Callable | None  # the policy of `jax.checkpoint` for a step; None keeps what comes in
    value_and_grad: Callable  # how the inner loss is differentiated


PRODUCTS = ("convolution", "conv_general_dilated", "dot_general")


def products(primitive, *_, **__) -> bool:
    """Tell that the result of an operation is dear: a policy of `jax.checkpoint`."""
    return primitive.name in PRODUCTS


def forward_over_reverse(loss: Callable) -> Callable:
    """Make jax.value_and_grad(loss), whose own derivative is a Hessian-vector product.

    `loss(phi, *given)` gives a number; phi has floating leaves only.
    """

    def value_and_grad(phi, *given):
        explicit, closed = jax.closure_convert(loss, phi, *given)
        leaves, structure = jax.tree.flatten((given, closed))
        smooth = [jnp.issubdtype(jnp.result_type(leaf), jnp.floating) for leaf in leaves]
        moving = [leaf for leaf, moves in zip(leaves, smooth, strict=True) if moves]
        still = [leaf for leaf, moves in zip(leaves, smooth, strict=True) if not moves]

        def value(phi, moving, still):
            each = iter(moving), iter(still)
            given, closed = structure.unflatten(next(each[not moves]) for moves in smooth)
            return explicit(phi, *given, *closed)

        @jax.custom_vjp
        def both(phi, moving, still):
            return jax.value_and_grad(value)(phi, moving, still)

        def keep(*values):
            return both(*values), values

        def carry_back(values, cotangents):
            phi, moving, still = values
            of_value, of_gradient = cotangents

            def gradients(phi):
                return jax.grad(value, (0, 1))(phi, moving, still)

            slopes, curved = jax.jvp(gradients, (phi,), (of_gradient,))
            return *jax.tree.map(lambda s, c: of_value * s + c, slopes, curved), None

        both.defvjp(keep, carry_back)
        return both(phi, moving, still)

    return value_and_grad


PLAIN = Memory(products, jax.value_and_grad)
REMAT = Memory(None, jax.value_and_grad)
MIXED = Memory(None, forward_over_reverse)
