"""Learning one organ from labelled slices, as usual: what anything that needs fewer labels is
measured against, and where bootstrapping from a few labelled patients begins.

There is no task to adapt to: a task is a batch of slices, and what has been learned is asked as it
is."""

from collections.abc import Callable

import jax
import optax

from jaxmeta.algorithms.algorithm import Algorithm, Meta, predictor_of, score
from jaxmeta.models.model import Model
from jaxmeta.numerics import typed_key


def supervised(model: Model, loss: Callable) -> Algorithm:
    """Learn from the support of every task; the query is not looked at, and nothing is adapted."""

    def outer(meta: Meta, task):
        theta = meta.learned["theta"]
        value, gradient = jax.value_and_grad(loss)(theta, task.support, typed_key(task.key))
        return dict(theta=gradient), dict(
            loss=value,
            dice=score(model, theta, task.support),
            grad_norm=optax.tree.norm(gradient),
        )

    def init(key):
        return Meta(dict(theta=model.init(key)))

    def as_it_is(meta: Meta, support, key):
        return meta.learned["theta"]

    return Algorithm(init, as_it_is, predictor_of(model), outer)
