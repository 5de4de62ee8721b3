"""MetaMedSeg (Makarevich, Farshad et al. 2021, arXiv 2109.09734): Reptile over whole volumes.

    for each of n tasks:  phi_i <- epochs of Adam from theta, one slice of its volume a step
    theta <- theta + beta sum_i W_i (phi_i - theta)

What is new beside Reptile is the task, all kept slices of one patient's volume
(`tasks/volumetric.py`), and the weights (`task_weighting.py`). The outer optimizer is plain descent
at rate beta. A new structure is learned in the same way, at a rate of its own.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax

from jaxmeta.algorithms.algorithm import Algorithm, Meta, predictor_of, statistics_of
from jaxmeta.inner_loop.adapt import descend
from jaxmeta.inner_loop.plan import one_by_one
from jaxmeta.losses.segmentation import hard_iou
from jaxmeta.models.model import Model
from jaxmeta.numerics import typed_key
from jaxmeta.tasks.task import Examples


def metamedseg(
    model: Model,
    loss: Callable,
    *,
    epochs: int = 20,
    inner: optax.GradientTransformation,
    decay: float = 0.8,
    every: int = 2,
    tuning: optax.GradientTransformation | None = None,
    tuning_epochs: int | None = None,
    tuning_decay: float = 0.7,
    task_weights: Callable | None = None,
    target: Examples | None = None,
) -> Algorithm:
    """Learn an initialization that is close to what every volume asks for.

    The rate falls by `decay` after every `every` epochs in training, by `tuning_decay` at test
    time, where `tuning` (or else `inner`) is the optimizer. `target` are the labelled slices of the
    structure under test that the rule `target_validation` looks at.
    """

    def walk(theta, support, key):
        plan = one_by_one(support, epochs, decay=decay, every=every)
        return descend(loss, theta, support, plan, update=inner, key=key)

    def adapt_to(meta, support, key):
        count = epochs if tuning_epochs is None else tuning_epochs
        plan = one_by_one(support, count, decay=tuning_decay, every=every)
        update = tuning or inner
        return descend(loss, meta.learned["theta"], support, plan, update=update, key=key)[0]

    def outer(meta, task):
        inner_key, query_key = jax.random.split(typed_key(task.key))
        theta = meta.learned["theta"]
        phi, losses = walk(theta, task.support, inner_key)
        meta_gradient = jax.tree.map(lambda a, b: a - b, theta, phi)
        value = loss(phi, task.query, query_key)
        shots = jnp.maximum(task.support.valid.sum(), 1)
        by_epoch = losses.reshape(epochs, -1).sum(1) / shots  # a step that rests has 0
        statistics = statistics_of(model, theta, phi, task.query, value, by_epoch)
        change = jnp.abs(jnp.diff(by_epoch)).max() if epochs > 1 else jnp.zeros(())
        moved = optax.tree.norm(meta_gradient, squared=True)
        statistics |= dict(moved=moved, largest_change=change, grad_norm=jnp.sqrt(moved))
        if target is not None:
            logits, _ = model.apply(phi, meta.state.image, meta.state.prompt)
            seen = meta.state.mask, meta.state.valid
            statistics |= dict(target_iou=hard_iou(logits[..., 0], *seen))
        return dict(theta=meta_gradient), statistics

    def init(key):
        return Meta(
            dict(theta=model.init(key)), () if target is None else jax.tree.map(jnp.asarray, target)
        )

    return Algorithm(init, adapt_to, predictor_of(model), outer, task_weights)
