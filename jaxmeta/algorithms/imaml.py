"""Implicit MAML (Rajeswaran et al. 2019, arXiv 1909.04630): a meta-gradient that forgets the path.

    phi* = argmin  L_support(phi) + lambda / 2 |phi - theta|^2
    meta_gradient = (I + H / lambda)^-1 d L_query(phi*) / d phi, H = d^2 L_support / d phi^2 at phi*

Where the inner problem is solved, the derivative of its solution does not depend on how it was
found: any optimizer and any number of steps, and the memory of plain training. The linear system is
solved with Hessian-vector products alone, by conjugate gradients or by a Neumann series.
"""

import jax
import optax

from jaxmeta.algorithms.algorithm import Algorithm, Meta, predictor_of, statistics_of
from jaxmeta.inner_loop.adapt import descend
from jaxmeta.inner_loop.linear_solvers import Solve, conjugate_gradient
from jaxmeta.inner_loop.plan import whole_support
from jaxmeta.models.model import Model
from jaxmeta.numerics import typed_key


def imaml(
    model: Model,
    loss,
    *,
    steps: int = 16,
    strength: float = 1.0,
    inner: optax.GradientTransformation = optax.sgd(0.1),
    solve: Solve = conjugate_gradient(5),
    test_steps: int | None = None,
) -> Algorithm:
    """Learn an initialization from which a proximal problem of `strength` lambda is solved well."""

    def walk(theta, support, key, count):
        def proximal(phi, examples, key):
            away = jax.tree.map(lambda a, b: a - b, phi, theta)
            return loss(phi, examples, key) + strength / 2 * optax.tree.norm(away, squared=True)

        plan = whole_support(support, count)
        return descend(proximal, theta, support, plan, update=inner, key=key)

    def adapt_to(meta, support, key):
        return walk(
            meta.learned["theta"], support, key, steps if test_steps is None else test_steps
        )[0]

    def outer(meta, task):
        inner_key, query_key, curved_key = jax.random.split(typed_key(task.key), 3)
        theta = meta.learned["theta"]
        phi, losses = walk(theta, task.support, inner_key, steps)
        value, slope = jax.value_and_grad(loss)(phi, task.query, query_key)

        def gradient(phi):
            return jax.grad(loss)(phi, task.support, curved_key)

        def product(v):
            _, curved = jax.jvp(gradient, (phi,), (v,))
            return jax.tree.map(lambda a, h: a + h / strength, v, curved)

        meta_gradient = solve(product, slope)
        statistics = statistics_of(model, theta, phi, task.query, value, losses)
        norm = optax.tree.norm(meta_gradient)
        return dict(theta=meta_gradient), statistics | dict(grad_norm=norm)

    def init(key):
        return Meta(dict(theta=model.init(key)))

    return Algorithm(init, adapt_to, predictor_of(model), outer)
