"""Checkpoints: everything that resuming needs, and the one that validation likes best.

Each holds the learner's state and the position of the task iterator, so that a run that was stopped
goes on as if it never had been. Orbax writes beside and renames: a half-written checkpoint is never
taken for a whole one. Kept are the latest and the best by the score on validation organs.
"""

from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree
from orbax.checkpoint import v1 as ocp

from jaxmeta.errors import BadInput
from jaxmeta.larger import rank

policies = ocp.training.preservation_policies


def open_checkpoints(folder: Path, *, writing: bool = True) -> ocp.training.Checkpointer:
    """Open, or begin, a run's folder of checkpoints; close it to wait for what is being written.

    Who writes clears away what a killed writer left half done; who only reads touches nothing.
    """
    return ocp.training.Checkpointer(
        folder.resolve(),
        save_decision_policy=Always(),
        preservation_policy=policies.AnyPreservationPolicy(
            [
                policies.LatestN(1),
                policies.BestN(
                    get_metric_fn=lambda metrics: metrics["score"],
                    n=1,
                    keep_checkpoints_without_metrics=False,
                ),
            ]
        ),
        cleanup_tmp_directories=writing,
    )


class Always:
    """Save whenever asked: when to ask is the trainer's business."""

    def should_save(self, step, previous_steps, *, context) -> bool:
        return True


def save(checkpoints, step: int, state: PyTree, tasks: Any, score: float | None) -> None:
    """Write the checkpoint of a step; a step that was already saved is left as it is."""
    if checkpoints.latest is not None and checkpoints.latest.step >= step:
        return
    metrics = None if score is None else dict(score=score)
    checkpoints.save_checkpointables(step, dict(state=state, tasks=tasks), metrics=metrics)


def resume(checkpoints, state: PyTree, tasks: Any) -> tuple[int, PyTree]:
    """Load the latest checkpoint into the shape and place of `state`, and set the iterator `tasks`.

    Returns the step and the state; step 0 and `state` itself where there is no checkpoint yet.
    """
    if checkpoints.latest is None:
        return 0, state
    wanted = dict(state=jax.tree.map(abstract, state), tasks=tasks)
    loaded = checkpoints.load_checkpointables(checkpoints.latest.step, wanted)
    return checkpoints.latest.step, loaded["state"]


def load_best(folder: Path, state: PyTree) -> tuple[int, float | None, PyTree]:
    """Load the state that scored best on validation organs, the latest where none was scored.

    Returns its step, its score and the state, in the shape and place of `state`. Raises BadInput
    where the run has no checkpoint.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder.parent} holds no checkpoints: train there first")
    with open_checkpoints(folder, writing=False) as checkpoints:
        if not checkpoints.checkpoints:
            raise BadInput(f"{folder} holds no whole checkpoint: train there first")
        scored = [c for c in checkpoints.checkpoints if c.metrics]
        best = max(scored, key=lambda c: rank(c.metrics["score"]), default=checkpoints.latest)
        wanted = dict(state=jax.tree.map(abstract, state))
        loaded = checkpoints.load_checkpointables(best.step, wanted)
    return best.step, best.metrics["score"] if best.metrics else None, loaded["state"]


def abstract(a: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Describe an array, so that another can be loaded in its shape, type and place."""
    return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding)
