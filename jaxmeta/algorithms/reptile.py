"""Reptile (Nichol et al. 2018, arXiv 1803.02999): move towards where the inner loop ends.

    meta_gradient = theta - phi_S        (descending it, theta moves towards phi_S)

No derivative of the inner loop is taken, so any inner optimizer and any number of steps will do,
and memory is that of plain training.
"""

import jax
import optax

from jaxmeta.algorithms.algorithm import Algorithm, Meta, predictor_of, statistics_of
from jaxmeta.inner_loop.adapt import descend
from jaxmeta.inner_loop.plan import whole_support
from jaxmeta.models.model import Model
from jaxmeta.numerics import typed_key


def reptile(
    model: Model,
    loss,
    *,
    steps: int = 5,
    inner: optax.GradientTransformation = optax.sgd(0.01),
    test_steps: int | None = None,
) -> Algorithm:
    """Learn an initialization that is close to every task's solution."""

    def walk(theta, support, key, count):
        plan = whole_support(support, count)
        return descend(loss, theta, support, plan, update=inner, key=key)

    def adapt_to(meta, support, key):
        return walk(
            meta.learned["theta"], support, key, steps if test_steps is None else test_steps
        )[0]

    def outer(meta, task):
        inner_key, query_key = jax.random.split(typed_key(task.key))
        theta = meta.learned["theta"]
        phi, losses = walk(theta, task.support, inner_key, steps)
        meta_gradient = jax.tree.map(lambda a, b: a - b, theta, phi)
        value = loss(phi, task.query, query_key)
        statistics = statistics_of(model, theta, phi, task.query, value, losses)
        norm = optax.tree.norm(meta_gradient)
        return dict(theta=meta_gradient), statistics | dict(grad_norm=norm)

    def init(key):
        return Meta(dict(theta=model.init(key)))

    return Algorithm(init, adapt_to, predictor_of(model), outer)
