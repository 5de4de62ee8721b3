"""What a meta-learning algorithm is: pure functions over explicit meta-parameters.

An algorithm knows no devices, no batch of tasks and no optimizer of its own: `over_tasks` maps its
`outer` over tasks, `learners.episodic` hands the mean meta-gradient to an optax optimizer.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from jaxmeta.losses.segmentation import hard_dice
from jaxmeta.models.model import Model
from jaxmeta.numerics import typed_key
from jaxmeta.tasks.task import Examples, Task


class Meta(NamedTuple):
    """Meta-parameters: what the outer optimizer moves, and what stays as it is.

    All of it is an argument of every jitted function, never a captured constant.
    """

    learned: dict[str, Any]  # theta, the network's parameters, and whatever is learned beside
    state: Any = ()  # counters and the like of an algorithm's own
    backbone: Any = ()  # frozen weights from elsewhere: not made by `init`, in no checkpoint


class Algorithm(NamedTuple):
    """How a network is adapted to a task, and how it learns to be adapted.

    Four functions, and two more for what few algorithms need::

        init(key) -> Meta
        adapt(meta, support, key) -> phi: what one does with a new structure's support, at test time
        predict(meta, phi, image, prompt) -> logits [N, H, W, 1]
        outer(meta, task) -> (meta_gradient like meta.learned, statistics): the optimizer descends
            along it
        task_weights(statistics of all tasks of a step) -> one weight a task; None: their mean
        advance(meta) -> meta after an outer step, for what an algorithm keeps of its own
    """

    init: Callable[[Array], Meta]
    adapt: Callable[[Meta, Examples, Array], PyTree]
    predict: Callable[[Meta, PyTree, Array, Any], Array]
    outer: Callable[[Meta, Task], tuple[PyTree, dict]]
    task_weights: Callable[[dict], Array] | None = None
    advance: Callable[[Meta], Meta] = lambda meta: meta


def predictor_of(model: Model) -> Callable:
    """Make the `predict` of an algorithm whose phi are a model's variables."""

    def predict(meta, phi, image, prompt=()):
        return model.apply(phi, image, prompt)[0]

    return predict


def score(model: Model, phi: PyTree, query: Examples) -> Array:
    """Hard Dice of the query under phi, for logs; no gradient flows."""
    logits, _ = model.apply(jax.lax.stop_gradient(phi), query.image, query.prompt)
    return hard_dice(logits[..., 0], query.mask, query.valid)


def query_gradient(query_loss: Callable, model: Model) -> Callable:
    """Make the usual `outer`: the gradient of a query loss through the walk to phi.

    `query_loss(learned, meta, task, inner key, query key)` -> (what is differentiated, (initial
    parameters, phi, the query's loss under phi, losses of the walk [S])).
    """

    def outer(meta: Meta, task: Task) -> tuple[PyTree, dict]:
        keys = jax.random.split(typed_key(task.key))

        def judged(learned):
            value, (theta, phi, after, losses) = query_loss(learned, meta, task, *keys)
            return value, statistics_of(model, theta, phi, task.query, after, losses)

        meta_gradient, statistics = jax.grad(judged, has_aux=True)(meta.learned)
        return meta_gradient, statistics | dict(grad_norm=optax.tree.norm(meta_gradient))

    return outer


def statistics_of(
    model: Model, theta: PyTree, phi: PyTree, query: Examples, value: Array, losses: Array
) -> dict:
    """Say how a walk from theta to phi went: the query's loss, its Dice at both ends, support
    losses.

    Those are the first and the last of `losses` [S]; there are none where no step was made.
    """
    inner = dict(inner_first=losses[0], inner_last=losses[-1]) if losses.shape[0] else {}
    both = jax.tree.map(lambda *ends: jnp.stack(ends), theta, phi)
    before, dice = jax.lax.map(lambda v: score(model, v, query), both)  # compiled once for both
    return dict(loss=value, dice=dice, dice_before=before) | inner
