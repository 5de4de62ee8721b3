"""What stands behind a mean: how many cases there were, and the three kinds of trouble.

Nothing is ever left out of a mean without appearing here.
"""

from collections.abc import Iterable
from typing import NamedTuple

from jaxmeta.metrics.overlap import Overlap


class Counts(NamedTuple):
    """All cases, those with a number, and those that were missed, invented, or not there at all."""

    cases: int
    valid: int
    missed: int
    false_alarms: int
    empty: int


def outcome(counted: Overlap) -> str:
    """Name what happened: "scored" (both have voxels), "missed", "false alarm", or "empty"."""
    if counted.target:
        return "scored" if counted.predicted else "missed"
    return "false alarm" if counted.predicted else "empty"


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
