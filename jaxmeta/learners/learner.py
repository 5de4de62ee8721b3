"""What the trainer, the checkpoint and the evaluation know of a method: a learner.

Every method ends as three functions, whatever its inside; `episodic` makes them of an algorithm, an
optax optimizer and a way over tasks.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Integer, PyTree

from jaxmeta.algorithms.algorithm import Algorithm, Meta
from jaxmeta.numerics import typed_key
from jaxmeta.tasks.task import Examples, Task


class Predictor(NamedTuple):
    """What is left of a learner when training is over: two pure functions of one structure::

        adapt(support: Examples of K slices, key: Key[Array, ""]) -> phi: PyTree
        predict(phi, image: Float[Array, "N H W C"], prompt=()) -> Float[Array, "N H W 1"]    logits

    `phi` is a network for the support's structure, or whatever the method makes of a support.
    Neither is compiled. Where many runs or steps share a program, call them inside jit with the
    state an argument, as `evaluate.networks` does: what a jitted function closes over is a constant
    of its program.
    """

    adapt: Callable[[Examples, Array], PyTree]
    predict: Callable[..., Array]


class Learner(NamedTuple):
    """How something is learned from batches of tasks::

        init(key: Key[Array, ""]) -> state
        step(state, batch: Task whose leaves lead with T) -> (state, metrics)
        predictor(state) -> Predictor

    The state is opaque to the trainer. Metrics are trees of scalars and of one value a task [T].
    None of the three is compiled, for who calls them knows the devices and what may be donated:
    `jax.jit(learner.init)` and `jax.jit(learner.step, donate_argnums=0)`. Both pay: uncompiled,
    `init` makes each array by a program of its own.
    """

    init: Callable[[Array], Any]
    step: Callable[[Any, Task], tuple[Any, dict]]
    predictor: Callable[[Any], Predictor]


class Episodic(NamedTuple):
    """The state of an episodic learner."""

    meta: Meta
    optimizer: Any
    step: Integer[Array, ""]


def with_backbone(state: Episodic, weights: PyTree) -> Episodic:
    """Put frozen weights from elsewhere into a state, as a step and a predictor need it."""
    return state._replace(meta=state.meta._replace(backbone=weights))


def without_backbone(state: Episodic) -> Episodic:
    """Take them out again, as a checkpoint keeps a state."""
    return with_backbone(state, ())


def episodic(
    algorithm: Algorithm,
    optimizer: optax.GradientTransformation,
    over_tasks: Callable,
    *,
    augment: Callable[[Task], Task] | None = None,
) -> Learner:
    """Learn from batches of tasks: augment each, take the meta-gradient, make one optimizer step.

    The batch is a `Task` whose leaves lead with T; `algorithm.outer` and `augment` see one task of
    it. `over_tasks(outer, task_weights=...)` spreads a function of one task over the batch:
    `over_tasks.over_tasks`, or `partial(over_tasks, chunk=4)` for four side by side, or with a mesh
    of devices.

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
        meta_gradient, tasks = meta_gradient_of(state.meta, batch)
        updates, after = optimizer.update(meta_gradient, state.optimizer, state.meta.learned)
        learned = optax.apply_updates(state.meta.learned, updates)
        metrics = dict(
            tasks=tasks | dict(task_id=batch.task_id),
            meta_gradient_norm=optax.tree.norm(meta_gradient),
            update_norm=optax.tree.norm(updates),
            parameter_norm=optax.tree.norm(learned),
        )
        meta = algorithm.advance(state.meta._replace(learned=learned))
        return Episodic(meta, after, state.step + 1), metrics

    def predictor(state: Episodic) -> Predictor:
        def adapt(support, key):
            return algorithm.adapt(state.meta, support, key)

        def predict(phi, image, prompt=()):
            return algorithm.predict(state.meta, phi, image, prompt)

        return Predictor(adapt, predict)

    return Learner(init, step, predictor)
