"""Learning from batches of few-shot tasks: an algorithm, an optax optimizer, a way over tasks."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Integer, PyTree

from jaxmeta.algorithms.algorithm import Algorithm, Meta
from jaxmeta.learners.learner import Learner, Predictor
from jaxmeta.numerics import typed_key
from jaxmeta.tasks.task import Task


class Episodic(NamedTuple):
    """The state of an episodic learner."""

    meta: Meta
    optimizer: Any
    step: Integer[Array, ""]


def episodic(
    algorithm: Algorithm,
    optimizer: optax.GradientTransformation,
    over_tasks: Callable,
    *,
    augment: Callable[[Task], Task] | None = None,
    backbone: PyTree = (),
) -> Learner:
    """Learn from batches of tasks: augment each, take the meta-gradient, make one optimizer step.

    The batch is a `Task` whose leaves lead with T; `algorithm.outer` and `augment` see one task of
    it. `over_tasks(outer, task_weights=...)` spreads a function of one task over the batch:
    `over_tasks.over_tasks`, or `partial(over_tasks, chunk=4)` for four side by side, or with a mesh
    of devices. Beside its statistics a task's metrics say its `index` and the number of its
    `structure`. `backbone` are frozen weights from elsewhere, which `from_save` puts into a state:
    no checkpoint holds them.

    A task's key is split here, once: `augment` and the algorithm each use up one of their own.
    (With JAX's generator `fold_in(key, i)` is `split(key)[i]`: who folds a key that somebody else
    splits draws the same numbers.)
    """

    def outer(meta: Meta, task: Task):
        changed, own = jax.random.key_data(jax.random.split(typed_key(task.key)))
        if augment:
            task = augment(task._replace(key=changed))
        return algorithm.outer(meta, task._replace(key=own))

    meta_gradient_of = over_tasks(outer, task_weights=algorithm.task_weights)

    def init(key) -> Episodic:
        meta = algorithm.init(key)
        return Episodic(meta, optimizer.init(meta.learned), jnp.zeros((), jnp.int32))

    def step(state: Episodic, batch: Task) -> tuple[Episodic, dict]:
        meta_gradient, statistics = meta_gradient_of(state.meta, batch)
        updates, after = optimizer.update(meta_gradient, state.optimizer, state.meta.learned)
        learned = optax.apply_updates(state.meta.learned, updates)
        index, structure = batch.task_id.T
        scalars = dict(
            meta_gradient_norm=optax.tree.norm(meta_gradient),
            update_norm=optax.tree.norm(updates),
            parameter_norm=optax.tree.norm(learned),
        )
        per_task = statistics | dict(index=index, structure=structure)
        meta = algorithm.advance(state.meta._replace(learned=learned))
        return Episodic(meta, after, state.step + 1), dict(scalars=scalars, per_task=per_task)

    def learned(state: Episodic) -> PyTree:
        return state.meta.learned

    def to_save(state: Episodic) -> Episodic:
        return with_backbone(state, ())

    def from_save(saved: Episodic) -> Episodic:
        return with_backbone(saved, backbone)

    return Learner(init, step, predictor_of(algorithm), learned, to_save, from_save)


def predictor_of(algorithm: Algorithm) -> Callable[[Episodic], Predictor]:
    """Make what predicts with a state of a learner of this algorithm; it needs no optimizer."""

    def predictor(state: Episodic) -> Predictor:
        def adapt(support, key):
            return algorithm.adapt(state.meta, support, key)

        def predict(phi, image, prompt=()):
            return algorithm.predict(state.meta, phi, image, prompt)

        return Predictor(adapt, predict)

    return predictor


def with_backbone(state: Episodic, weights: PyTree) -> Episodic:
    """Put frozen weights into a state, as a step and a predictor need them, or others out."""
    return state._replace(meta=state.meta._replace(backbone=weights))
