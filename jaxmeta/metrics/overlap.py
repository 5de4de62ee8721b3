"""Measures that count voxels: of the prediction P, of the truth T, and of both.

NaN stands where a quotient has nothing to divide by: Dice and IoU of two empty masks, precision
without a prediction, recall and volume error without a truth.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

NAN = float("nan")


class Overlap(NamedTuple):
    """Voxels in both masks, in the prediction, and in the truth."""

    both: int
    predicted: int
    target: int


def overlap(predicted: Bool[np.ndarray, "*shape"], target: Bool[np.ndarray, "*shape"]) -> Overlap:
    """Count the voxels that every overlap measure is made of."""
    return Overlap(
        int(np.count_nonzero(predicted & target)),
        int(np.count_nonzero(predicted)),
        int(np.count_nonzero(target)),
    )


def dice(counted: Overlap) -> float:
    """2 |P and T| / (|P| + |T|)."""
    total = counted.predicted + counted.target
    return 2 * counted.both / total if total else NAN


def iou(counted: Overlap) -> float:
    """|P and T| / |P or T| = dice / (2 - dice)."""
    union = counted.predicted + counted.target - counted.both
    return counted.both / union if union else NAN


def precision(counted: Overlap) -> float:
    """|P and T| / |P|."""
    return counted.both / counted.predicted if counted.predicted else NAN


def recall(counted: Overlap) -> float:
    """|P and T| / |T|."""
    return counted.both / counted.target if counted.target else NAN


def volume_error(counted: Overlap) -> float:
    """(|P| - |T|) / |T|: above 0 where too much was predicted."""
    return (counted.predicted - counted.target) / counted.target if counted.target else NAN
