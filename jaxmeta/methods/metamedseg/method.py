"""MetaMedSeg: Reptile over whole volumes, tasks weighed (Makarevich, Farshad et al. 2021)."""

from typing import Any, Literal

import numpy as np
import optax

from jaxmeta import algorithms
from jaxmeta.algorithms import task_weighting
from jaxmeta.errors import BadInput
from jaxmeta.methods.maml import test_steps
from jaxmeta.methods.metamedseg.released import Released, weighed
from jaxmeta.methods.method import Method
from jaxmeta.methods.options import Adaptation
from jaxmeta.methods.parts import check_network, inner_rule, network_and_loss, started
from jaxmeta.methods.testing import Testing, slice_space
from jaxmeta.options import options
from jaxmeta.tasks.task import Examples

TARGET_SLICES = 10  # as many as the code released with the paper looks at
RULES = {
    "uniform": task_weighting.uniform,
    "mean": task_weighting.distance_to_mean,
    "meta": task_weighting.distance_to_meta,
    "loss": task_weighting.loss,
    "loss-difference": task_weighting.loss_difference,
    "target": task_weighting.target_validation,
}


@options
class TaskWeights:
    """How much each task of a step counts."""

    rule: Literal["uniform", "mean", "meta", "loss", "loss-difference", "target"] = "uniform"
    """uniform: all alike; mean, meta: by the distance from where all tasks ended on average, or
    from where they began; loss: by how little the held-out loss differs from the last training
    loss; loss-difference: by the largest fall of the training loss in an epoch; target: by the IoU
    on ten labelled slices of the organs under test, which is a leak."""
    invert: bool = False
    """Turn the rule around: 1 - W, normalized."""


@options
class MetaMedSeg(Adaptation):
    """MetaMedSeg: every task is a volume, learned slice by slice by Adam."""

    steps: int = 20
    """Epochs over a volume in training, with a step a slice."""
    test_steps: int = 20
    """Epochs over the support at test time."""
    rate: float = 0.01
    """Rate in training."""
    test_rate: float = 0.005
    """Rate at test time."""
    optimizer: Literal["sgd", "momentum", "adam"] = "adam"
    """Rule of the inner update."""
    clip: float = 0.0
    """Largest norm of an inner gradient; longer ones are scaled down. 0: never."""
    decay: float = 0.8
    """Factor on the rate in training, after every `every` epochs."""
    test_decay: float = 0.7
    """The same factor at test time."""
    every: int = 2
    """Epochs between two falls of the rate."""
    weight_decay: float = 0.003
    """L2 decay that goes through the optimizer, in training."""
    test_weight_decay: float = 3e-5
    """The same at test time."""
    task_weights: TaskWeights = TaskWeights()
    released: Released = Released()


def algorithm(config: Any, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make it, with an optimizer of its own for fine-tuning.

    Where nobody trains, target slices of the same shape stand in for the run's own.
    """
    own, how = config.method, config.method.task_weights
    model, loss = network_and_loss(config, testing=testing)
    rule = inner_rule(own, differentiated=False)
    if how.rule == "target" and target is None:
        plane = (TARGET_SLICES, config.tasks.size, config.tasks.size)
        target = Examples(
            np.zeros((*plane, 1), np.float32), np.zeros(plane, np.uint8), np.zeros(plane[0], bool)
        )

    def decayed(rate: float, decay: float) -> optax.GradientTransformation:
        return optax.chain(optax.add_decayed_weights(decay), rule(rate))

    chosen = task_weighting.weighting(RULES[how.rule], invert=how.invert)
    weights = weighed(own.released, None if how.rule == "uniform" else chosen, chosen)
    return algorithms.metamedseg(
        started(model, begin),
        loss,
        epochs=own.steps,
        inner=decayed(own.rate, own.weight_decay),
        decay=own.decay,
        every=own.every,
        tuning=decayed(own.test_rate, own.test_weight_decay),
        tuning_epochs=own.test_steps,
        tuning_decay=own.test_decay,
        task_weights=weights,
        target=target,
    )


def check(config: Any) -> None:
    """Refuse weights that say nothing, and labels under test that nobody allowed to be seen."""
    check_network(config)
    own, how = config.method, config.method.task_weights
    if own.every < 1:
        raise BadInput(f"`method.every={own.every}`: must be at least 1")
    if how.rule == "uniform" and how.invert:
        raise BadInput(
            "`method.task_weights.invert` with `method.task_weights.rule=uniform`: all alike, "
            "either way around"
        )
    if how.rule == "target" and not config.test_organs:
        raise BadInput("`method.task_weights.rule=target` needs `test_organs` to look at")


def target_slices(config: Any) -> int:
    """Count the labelled slices of organs under test that are looked at in training."""
    return TARGET_SLICES if config.method.task_weights.rule == "target" else 0


METAMEDSEG = Method(
    "metamedseg",
    MetaMedSeg,
    algorithm,
    check=check,
    steps=test_steps,
    query_teaches=False,
    slice_by_slice=True,
    target_slices=target_slices,
    testing=Testing(search_space=slice_space),
)
