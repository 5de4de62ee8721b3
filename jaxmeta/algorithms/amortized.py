"""Methods without an inner loop: the support is described once, and the query is judged by that.

    phi = describe(theta, support)
    logits = judge(theta, phi, query)

The meta-gradient is the plain gradient of the query loss through both.
"""

from collections.abc import Callable
from typing import Any

import jax
import optax
from jaxtyping import Array, PyTree

from jaxmeta.algorithms.algorithm import Algorithm, Meta, score
from jaxmeta.models.model import Model
from jaxmeta.numerics import typed_key
from jaxmeta.tasks.task import Examples


def amortized(
    init: Callable[[Array], PyTree],
    describe: Callable[[PyTree, Examples], Any],
    judge: Callable[..., Array],
    loss_of: Callable[[Model], Callable],
) -> Algorithm:
    """Learn to describe supports and to judge by it; `loss_of(model)` makes the loss.

    `judge(theta, phi, image, prompt=())` gives logits [N, H, W, 1].
    """

    def adapt_to(meta: Meta, support: Examples, key):
        return describe(meta.learned["theta"], support)

    def predict(meta: Meta, phi, image, prompt=()):
        return judge(meta.learned["theta"], phi, image, prompt)

    def outer(meta: Meta, task):
        def query_loss(learned):
            theta = learned["theta"]
            phi = describe(theta, task.support)
            judged = Model(init, lambda v, *a, **options: (judge(v, phi, *a), ()))
            value = loss_of(judged)(theta, task.query, typed_key(task.key))
            return value, dict(loss=value, dice=score(judged, theta, task.query))

        meta_gradient, statistics = jax.grad(query_loss, has_aux=True)(meta.learned)
        return meta_gradient, statistics | dict(grad_norm=optax.tree.norm(meta_gradient))

    return Algorithm(lambda key: Meta(dict(theta=init(key))), adapt_to, predict, outer)
