"""How much each task of a step counts: MetaMedSeg's rules (arXiv 2109.09734), as pure functions.

A rule looks at the statistics of all T tasks of a step and gives each a score d_i >= 0. Then

    W_i = (d_i + e) / (sum_j d_j + e),   e = 1e-4
    inverted:  W_i <- (1 - W_i) / sum_j (1 - W_j)      close to 1 / T: a mild preference

and the update is sum_i W_i (phi_i - theta). The statistics are those of `metamedseg`'s `outer`,
with the `deviation` that `over_tasks` adds where tasks are weighed.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

TaskScores = Callable[[dict], Float[Array, " T"]]
SMALL = 1e-4


def distance_to_mean(statistics: dict) -> Float[Array, " T"]:
    """|phi_i - mean_j phi_j|^2: tasks far from what all agree on."""
    return statistics["deviation"]


def distance_to_meta(statistics: dict) -> Float[Array, " T"]:
    """|phi_i - theta|^2: tasks that moved far from the meta-model."""
    return statistics["moved"]


def loss(statistics: dict) -> Float[Array, " T"]:
    """1 / |held-out loss - last training loss|: tasks that generalize."""
    gap = jnp.abs(statistics["loss"] - statistics["inner_last"])
    return 1 / jnp.maximum(gap, 1e-12)


def loss_difference(statistics: dict) -> Float[Array, " T"]:
    """The largest change of the training loss from one epoch to the next: tasks learned fast."""
    return statistics["largest_change"]


def target_validation(statistics: dict) -> Float[Array, " T"]:
    """IoU of phi_i, as it is, on labelled slices of the target: it sees the target while
    training."""
    return statistics["target_iou"]


def weighting(scores: TaskScores, *, invert: bool = False) -> Callable[[dict], Float[Array, " T"]]:
    """Make (statistics of all tasks) -> one weight a task of a rule's scores."""

    def task_weights(statistics: dict) -> Float[Array, " T"]:
        d = jax.lax.stop_gradient(scores(statistics))
        w = (d + SMALL) / (d.sum() + SMALL)
        if invert:
            left = (1 - w).sum()  # 0 where there is one task alone
            w = jnp.where(left > 0, (1 - w) / jnp.where(left > 0, left, 1), 1.0)
        return w

    return task_weights


def uniform(statistics: dict) -> Float[Array, " T"]:
    """Score all alike; inverted or not, W_i is about 1 / T."""
    return jnp.ones_like(statistics["moved"])
