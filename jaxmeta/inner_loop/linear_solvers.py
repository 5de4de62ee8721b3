"""Solve linear systems that are known by their products alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

Solve = Callable[[Callable[[PyTree], PyTree], PyTree], PyTree]  # (product, right) -> solution


def conjugate_gradient(steps: int) -> Solve:
    """Solve a symmetric positive definite system in so many products; the best choice if it is one.

    A system that turns out to be none is solved as far as it was: at the first direction along
    which it does not curve upwards the solution is kept (Steihaug 1983), at the very first it is
    `right`.
    """

    def solve(product, right):
        def step(carry, number):
            x, residual, towards, upwards = carry
            along = product(towards)
            curvature = optax.tree.vdot(towards, along)
            upwards &= curvature > 0  # also not where nothing is left to solve
            squared = optax.tree.norm(residual, squared=True)
            length = jnp.where(upwards, squared / jnp.where(upwards, curvature, 1), 0)
            length = jnp.where(upwards | (number > 0), length, 1)
            x = plus(x, length, towards)
            residual = plus(residual, -length, along)
            left = optax.tree.norm(residual, squared=True) / jnp.where(squared > 0, squared, 1)
            return (x, residual, plus(residual, left, towards), upwards), None

        begin = jax.tree.map(jnp.zeros_like, right), right, right, jnp.asarray(True)
        (x, *_), _ = jax.lax.scan(step, begin, jnp.arange(steps))
        return x

    return solve


def neumann(steps: int, damping: float | None = None) -> Solve:
    """Sum a Neumann series of so many products: x <- x + a r with r = right - product(x), from x =
    0.

    It converges where 0 < a eigenvalue < 2 for all of them. Without a `damping` a is one over the
    largest curvature |product(r)| / |r| seen so far. That is at most |r|^2 / (r . product(r)), so
    of a symmetric positive definite system every step lowers x . product(x) / 2 - x . right, at any
    scale and with no product spent on an estimate; and while a were too large, the direction of the
    largest eigenvalue would grow in r until its curvature is seen. As many products as the
    condition number, several times, come close to the solution; conjugate gradients need its square
    root of them.

    A system that turns out not to be positive definite is solved as far as it was, as by
    `conjugate_gradient`.
    """

    def solve(product, right):
        def step(carry, number):
            x, residual, upwards, most = carry
            along = product(residual)
            upwards &= optax.tree.vdot(residual, along) > 0  # also not where nothing is left
            squared = optax.tree.norm(residual, squared=True)
            seen = optax.tree.norm(along, squared=True) / jnp.where(upwards, squared, 1)
            most = jnp.where(upwards & (seen > most), seen, most)
            length = jax.lax.rsqrt(jnp.where(upwards, most, 1)) if damping is None else damping
            # what does not curve upwards at once is taken for the identity
            length = jnp.where(upwards, length, jnp.where(number > 0, 0, 1))
            return (plus(x, length, residual), plus(residual, -length, along), upwards, most), None

        nothing = jax.tree.map(jnp.zeros_like, right)
        most = jnp.zeros_like(optax.tree.norm(right, squared=True))
        begin = nothing, right, jnp.asarray(True), most
        return jax.lax.scan(step, begin, jnp.arange(steps))[0][0]

    return solve


def plus(x: PyTree, length, towards: PyTree) -> PyTree:
    """Add x + length * towards."""
    return jax.tree.map(lambda a, d: a + length * d, x, towards)
