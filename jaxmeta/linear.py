"""Solve linear systems that are known by their products alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

Solve = Callable[[Callable[[PyTree], PyTree], PyTree], PyTree]  # (product, right) -> solution


def conjugate_gradient(steps: int) -> Solve:
    """Solve a symmetric positive definite system in so many products; the best choice if it is one."""

    def solve(product, right):
        return jax.scipy.sparse.linalg.cg(product, right, tol=0.0, maxiter=steps)[0]

    return solve


def neumann(steps: int, damping: float = 1.0) -> Solve:
    """Sum x <- x + a (right - product(x)): converges where |1 - a eigenvalue| < 1, and asks no symmetry."""

    def solve(product, right):
        def step(x, _):
            residual = jax.tree.map(jnp.subtract, right, product(x))
            return jax.tree.map(lambda a, r: a + damping * r, x, residual), None

        return jax.lax.scan(step, right, length=steps)[0]

    return solve
