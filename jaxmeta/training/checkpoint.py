"""Checkpoints: everything that resuming needs, and the one that validation likes best.

Each holds the learner's state and the position of the task iterator, so that a run that was stopped
goes on as if it never had been. Orbax writes beside and renames: a half-written checkpoint is never
taken for a whole one. Kept are the latest and the best by the score on validation organs.
"""

import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
from jaxtyping import PyTree
from orbax.checkpoint import v1 as ocp

from jaxmeta.errors import BadInput, silent
from jaxmeta.numerics import rank

policies = ocp.training.preservation_policies
ABOUT, SCORES = "_CHECKPOINT_METADATA", "metrics/metrics"  # Orbax's files in the folder of a step


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


def save(
    checkpoints,
    step: int,
    state: PyTree,
    tasks: Any,
    score: float | None,
    about: Mapping[str, str] | None = None,
) -> None:
    """Write the checkpoint of a step; a step that was already saved is left as it is.

    What it is `about` is kept beside it, as JSON: `about_best` reads it without the arrays.
    """
    if checkpoints.latest is not None and checkpoints.latest.step >= step:
        return
    metrics = None if score is None else dict(score=score)
    about = None if about is None else dict(about)
    checkpoints.save_checkpointables(
        step, dict(state=state, tasks=tasks), metrics=metrics, custom_metadata=about
    )


def resume(checkpoints, state: PyTree, tasks: Any) -> tuple[int, PyTree]:
    """Load the latest checkpoint into the shape and place of `state`, and set the iterator `tasks`.

    Returns the step and the state; step 0 and `state` itself where there is no checkpoint yet.
    """
    if checkpoints.latest is None:
        return 0, state
    wanted = dict(state=jax.tree.map(abstract, state), tasks=tasks)
    loaded = load(checkpoints, checkpoints.latest.step, wanted)
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
        best = best_of(checkpoints)
        wanted = dict(state=jax.tree.map(abstract, state))
        loaded = load(checkpoints, best.step, wanted)
    return best.step, best.metrics["score"] if best.metrics else None, loaded["state"]


def best_of(checkpoints) -> Any:
    """Choose the checkpoint that scored best on validation organs, the latest where none was
    scored."""
    scored = [c for c in checkpoints.checkpoints if c.metrics]
    return max(scored, key=lambda c: rank(c.metrics["score"]), default=checkpoints.latest)


def about_best(folder: Path) -> tuple[int, dict[str, str]] | None:
    """Say which step the best checkpoint is of, and what it is about; None where there is no
    checkpoint.

    Orbax's files are read as they lie there: its checkpointer waits for all processes of a run, and
    one alone may ask, as the first does before others see what it wrote.
    """
    steps = [path for path in folder.glob("*") if path.name.isdigit() and (path / ABOUT).exists()]
    scored, latest = [], max(steps, key=step_of, default=None)
    for path in sorted(steps, key=step_of):
        if (path / SCORES).exists():
            scored.append((json.loads((path / SCORES).read_text("utf-8"))["score"], path))
    _, best = max(scored, key=lambda each: rank(each[0]), default=(None, latest))
    if best is None:
        return None
    return step_of(best), json.loads((best / ABOUT).read_text("utf-8"))["custom_metadata"] or {}


def step_of(path: Path) -> int:
    """Tell a checkpoint's step by its folder."""
    return int(path.name)


def metadata(checkpoints, step: int):
    """Read what is told of a checkpoint; Orbax warns each time that task iterators tell nothing of
    themselves."""
    with silent(logging.getLogger("absl")):
        return checkpoints.checkpointables_metadata(step)


def load(checkpoints, step: int, wanted: dict[str, Any]) -> dict[str, Any]:
    """Load what a checkpoint holds; raise BadInput where its arrays are not those of the state
    asked for.

    That is where the network was changed since, by an edited configuration or in a module of one's
    own.
    """
    try:
        return checkpoints.load_checkpointables(step, wanted)
    except Exception as error:
        held = shapes(metadata(checkpoints, step).metadata["state"])
        asked = shapes(wanted["state"])
        for name in sorted(held.keys() | asked.keys()):
            if (one := held.get(name)) != (other := asked.get(name)):
                raise BadInput(
                    f"{checkpoints.directory}: step {step} is of another network: {name} has shape "
                    f"{one} there and {other} by the configuration; bring back the network that "
                    "was trained, or train anew"
                ) from error
        raise


def shapes(state: PyTree) -> dict[str, tuple[int, ...]]:
    """Give the shape of every array of a state by its path."""
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): a.shape for path, a in leaves}


def abstract(a: jax.Array | jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    """Describe an array, so that another can be loaded in its shape, type and place."""
    return jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=a.sharding)
