"""What the trainer, the checkpoint and the evaluation know of a method: a learner.

Every method ends as these functions, whatever its inside: meta-learning with few-shot tasks
(`episodic.py`), or anything else that learns from batches.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from jaxtyping import Array, PyTree

from jaxmeta.tasks.task import Examples


class Predictor(NamedTuple):
    """What is left of a learner when training is over: two pure functions of one structure::

        adapt(support: Examples of K slices, key: Key[Array, ""]) -> phi: PyTree
        predict(phi, image: Float[Array, "N H W C"], prompt=()) -> Float[Array, "N H W 1"]    logits

    `phi` is a network for the support's structure, or whatever the method makes of a support.
    Neither is compiled. Where many runs or steps share a program, call them inside jit with the
    state an argument, as `segmenter.networks` does: what a jitted function closes over is a
    constant of its program.
    """

    adapt: Callable[[Examples, Array], PyTree]
    predict: Callable[..., Array]


class Learner(NamedTuple):
    """How something is learned from batches::

        init(key: Key[Array, ""]) -> state
        step(state, batch: any tree whose leaves lead with T) -> (state, metrics)
        predictor(state) -> Predictor
        watch(state, batch) -> {name: array [N, ...]}: of the batch's query slices what is worth a
            picture while it learns; None for most
        learned(state) -> what steps move: a dict whose "theta" another run may begin with
        beside(state) -> what such a run needs besides: the state of the model, () for most
        to_save(state) -> what a checkpoint keeps of it
        from_save(saved) -> state: the way back, with what no checkpoint holds put in again

    The state is opaque: no trainer opens it. `metrics` is `dict(scalars={name: number},
    per_task={name: values [T]})`; of the tasks' values `loss` and `grad_norm` must be finite.
    None of these is compiled, for who calls them knows the devices and what may be donated:
    `jax.jit(learner.init)` and `jax.jit(learner.step, donate_argnums=0)`. Both pay: uncompiled,
    `init` makes each array by a program of its own.
    """

    init: Callable[[Array], Any]
    step: Callable[[Any, Any], tuple[Any, dict]]
    predictor: Callable[[Any], Predictor]
    learned: Callable[[Any], PyTree]
    to_save: Callable[[Any], PyTree] = lambda state: state
    from_save: Callable[[PyTree], Any] = lambda saved: saved
    watch: Callable[[Any, Any], dict[str, Array]] | None = None
    beside: Callable[[Any], PyTree] = lambda state: ()
