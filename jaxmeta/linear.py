"""Solve linear systems that are known by their products alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import PyTree

Solve = Callable[[Callable[[PyTree], PyTree], PyTree], PyTree]  # (product, right) -> solution


def conjugate_gradient(steps: int) -> Solve:
    """Solve a symmetric positive definite system in so many products; the best choice if it is one.

    A system that turns out to be none is solved as far as it was: at the first direction along which
    it does not curve upwards the solution is kept (Steihaug 1983), at the very first it is `right`.
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


def neumann(steps: int, damping: float = 1.0) -> Solve:
    """Sum x <- x + a (right - product(x)): converges where |1 - a eigenvalue| < 1, and asks no symmetry."""

    def solve(product, right):
        def step(x, _):
            residual = jax.tree.map(jnp.subtract, right, product(x))
            return plus(x, damping, residual), None

        return jax.lax.scan(step, right, length=steps)[0]

    return solve


def plus(x: PyTree, length, towards: PyTree) -> PyTree:
    """Add x + length * towards."""
    return jax.tree.map(lambda a, d: a + length * d, x, towards)
