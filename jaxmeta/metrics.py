"""How well a mask matches the truth: hard overlap of one case in 3-D, at the original resolution.

The policy for empty masks is explicit, because libraries silently differ in it: truth and
prediction both empty give NaN (there is nothing to measure) and the case is counted as `empty`;
exactly one empty gives 0, counted as `missed` or as a `false alarm`. Nothing is ever left out of a
mean without appearing in `Counts`.
"""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool


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
    """2 |P and T| / (|P| + |T|); NaN if both are empty."""
    total = counted.predicted + counted.target
    return 2 * counted.both / total if total else float("nan")


def iou(counted: Overlap) -> float:
    """|P and T| / |P or T| = dice / (2 - dice); NaN if both are empty."""
    union = counted.predicted + counted.target - counted.both
    return counted.both / union if union else float("nan")


def outcome(counted: Overlap) -> str:
    """Name what happened: "scored" (both have voxels), "missed", "false alarm", or "empty"."""
    if counted.target:
        return "scored" if counted.predicted else "missed"
    return "false alarm" if counted.predicted else "empty"


class Counts(NamedTuple):
    """What stands behind a mean: all cases, those with a number, and the three kinds of trouble."""

    cases: int
    valid: int
    missed: int
    false_alarms: int
    empty: int


def count(outcomes: Iterable[str]) -> Counts:
    """Tally the outcomes of a set of cases; only `empty` ones have no number."""
    seen = list(outcomes)
    empty = seen.count("empty")
    return Counts(
        cases=len(seen),
        valid=len(seen) - empty,
        missed=seen.count("missed"),
        false_alarms=seen.count("false alarm"),
        empty=empty,
    )
