"""Model selection: the Dice that a learner reaches, once adapted, on fixed tasks of validation
organs."""

from collections.abc import Callable

import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Float, PyTree

from jaxmeta.learners.learner import Predictor
from jaxmeta.losses.segmentation import hard_dice
from jaxmeta.numerics import typed_key
from jaxmeta.parallel.devices import jit
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.tasks.task import Task


def validation(
    predictor_of: Callable[[PyTree], Predictor], mesh: Mesh | None = None
) -> Callable[[PyTree, Task], Float[Array, " T"]]:
    """Make the jitted (state, tasks) -> query Dice of each task after adapting to its support."""

    def outer(state, task):
        predictor = predictor_of(state)
        phi = predictor.adapt(task.support, typed_key(task.key))
        logits = predictor.predict(phi, task.query.image, task.query.prompt)
        return (), hard_dice(logits[..., 0], task.query.mask, task.query.valid)

    return jit(lambda state, tasks: over_tasks(outer, mesh=mesh)(state, tasks)[1])


def mean_over_structures(dice: Float[np.ndarray, " T"], structure: np.ndarray) -> float:
    """Average over structures the average over their tasks, so that a frequent one weighs no
    more."""
    numbers = np.asarray(structure)
    return float(np.mean([np.mean(np.asarray(dice)[numbers == n]) for n in np.unique(numbers)]))
