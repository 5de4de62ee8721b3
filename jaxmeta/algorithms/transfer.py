"""The baselines that keep meta-learning honest: transfer learning, and learning from scratch.

Transfer trains one network with one output head a source structure, on all labelled slices of every
task alike; for a new structure it keeps the trunk, draws a new head and fine-tunes everything on
the support. Scratch fine-tunes a network that was never trained. Both end in the same `adapt`, with
any optax optimizer and any number of steps, so that they can be tuned as hard as the method.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from jaxmeta.algorithms.algorithm import Algorithm, Meta, predictor_of, score
from jaxmeta.inner_loop.adapt import descend
from jaxmeta.inner_loop.plan import whole_support
from jaxmeta.models.model import Model
from jaxmeta.numerics import typed_key
from jaxmeta.tasks.task import Task


def transfer(
    model: Model,
    heads: Model,
    loss: Callable,
    loss_of: Callable[[Model], Callable],
    *,
    optimizer: optax.GradientTransformation,
    steps: int,
    head: str = "head",
) -> Algorithm:
    """Pre-train `heads`, which is `model` with one output a source structure; fine-tune `model`.

    A task trains the output of its structure's number in the pool (`task.task_id[1]`). The
    variables of both models are dictionaries that differ in the entry `head` alone. Fine-tuning
    walks down `loss`, pre-training down `loss_of(one output of heads)`, as `segmentation_loss`
    makes it."""

    def adapt_to(meta, support, key):
        fresh, walk = jax.random.split(key)
        phi = {**meta.learned["theta"], head: model.init(fresh)[head]}
        plan = whole_support(support, steps)
        return descend(loss, phi, support, plan, update=optimizer, key=walk)[0]

    def outer(meta: Meta, task: Task) -> tuple[PyTree, dict]:
        slices = jax.tree.map(lambda *a: jnp.concatenate(a), task.support, task.query)
        own = one_output(heads, task.task_id[1])
        theta = meta.learned["theta"]
        slope = jax.value_and_grad(loss_of(own))
        value, meta_gradient = slope(theta, slices, typed_key(task.key))
        return dict(theta=meta_gradient), dict(
            loss=value,
            dice=score(own, theta, task.query),
            grad_norm=optax.tree.norm(meta_gradient),
        )

    def init(key):
        return Meta(dict(theta=heads.init(key)))

    return Algorithm(init, adapt_to, predictor_of(model), outer)


def one_output(heads: Model, number: Array) -> Model:
    """View output `number` of a model with many as a model with one."""

    def apply(variables, image, prompt=(), **options):
        logits, state = heads.apply(variables, image, prompt, **options)
        return jnp.take(logits, number, axis=-1)[..., None], state

    return Model(heads.init, apply)


def scratch(
    model: Model, loss: Callable, *, optimizer: optax.GradientTransformation, steps: int
) -> Algorithm:
    """Learn each structure from nothing but its support, from a fresh start drawn with the key."""

    def adapt_to(meta, support, key):
        fresh, walk = jax.random.split(key)
        plan = whole_support(support, steps)
        return descend(loss, model.init(fresh), support, plan, update=optimizer, key=walk)[0]

    def outer(meta, task):
        return dict(theta=()), dict(loss=jnp.zeros(()), grad_norm=jnp.zeros(()))

    return Algorithm(lambda key: Meta(dict(theta=())), adapt_to, predictor_of(model), outer)
