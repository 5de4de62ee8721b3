"""Make the tables of "SSM-SAM on sam-tiny: one organ left out at a time" (RESULTS.md) again.

    python -m experiments.studies.one_organ_out

`one_organ_out.csv` holds the Dice of every case of every kept split (seed 2 of the abdomen, all
seeds of the heart), a line a case: as the network of that column answered after so many steps of
adaptation. Its lines are the `scores.csv` and `steps.csv` of the reports that `one_organ_out.sh`
writes, to five decimals; the nearest support mask is that of SSM-SAM's tests, at 256 pixels.
"""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from jaxmeta.commands.command import parse_words, run
from jaxmeta.evaluation.intervals import Interval, interval, number
from jaxmeta.evaluation.variance import Level
from jaxmeta.options import options

CASES = Path(__file__).with_suffix(".csv")
STEPS = (0, 10, 20, 30, 40)
NAMES = {
    "ssm": "SSM-SAM",
    "joint": "without meta-learning",
    "random": "random initialization",
    "maml": "U-Net MAML",
    "scratch": "U-Net from scratch",
    "nearest": "nearest support mask",
}
TESTS = {"within": "within volumes", "across": "across patients"}
GROUPS = {
    "abdomen, seed 2": ["left_kidney-2", "liver-2", "right_kidney-2", "spleen-2"],
    **{f"heart, seed {seed}": [f"heart-{seed}"] for seed in range(3)},
    "heart, three seeds": [f"heart-{seed}" for seed in range(3)],
}


def read(path: Path = CASES) -> list[dict[str, str]]:
    """Read the cases."""
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def dice(cases: Sequence[dict[str, str]], method: str, steps: int = STEPS[-1]) -> np.ndarray:
    """Give the Dice of a method after so many steps; what takes none has one column."""
    column = method if method in cases[0] else f"{method}_{steps}"
    return np.array([float(case[column]) for case in cases])


def organs(cases: Sequence[dict[str, str]]) -> list[str]:
    """Give the group of each case."""
    return [case["organ"] for case in cases]


def drawn(cases: Sequence[dict[str, str]], person: str) -> Level:
    """Name who was drawn, inside their data set: those asked about, or those who gave the support.

    Those who gave are drawn among those that the same splits were given.
    """
    people = [case[person] for case in cases]
    given = {one: frozenset(c["split"] for c in cases if c[person] == one) for one in people}
    strata = [one.partition("/")[0] for one in people]
    if person == "support_patient":
        strata = [(stratum, given[one]) for stratum, one in zip(strata, people, strict=True)]
    return Level(people, strata, person)


def mean(cases: Sequence[dict[str, str]], method: str, steps: int = STEPS[-1]) -> Interval:
    """Average over organs the mean over their cases; the interval is over patients."""
    levels = [drawn(cases, "patient")]
    return interval(dice(cases, method, steps), organs(cases), levels, limits=(0.0, 1.0))


def behind(cases: Sequence[dict[str, str]], method: str, *, runs: bool = False) -> Interval:
    """Average SSM-SAM minus a method, case by case; the interval is over patients and supports."""
    levels = [drawn(cases, "patient"), drawn(cases, "support_patient")]
    if runs:
        splits = [case["split"] for case in cases]
        levels.append(Level(splits, [0] * len(splits), "runs"))
    return interval(dice(cases, "ssm") - dice(cases, method), organs(cases), levels)


def table(cases: Sequence[dict[str, str]]) -> list[list[str]]:
    """Lay out one table: Dice by steps, SSM-SAM minus the method, and Dice by organ."""
    known = sorted(set(organs(cases)))
    several = len({(case["split"], case["organ"]) for case in cases}) > len(known)  # replicates
    lines = [["", *map(str, STEPS), "SSM-SAM minus it", *["with runs"] * several, *known]]
    for method, name in NAMES.items():
        stepping = f"{method}_0" in cases[0]
        by_steps = [number(mean(cases, method, k).mean) if stepping else "" for k in STEPS[:-1]]
        ahead = [behind(cases, method, runs=runs) for runs in (False, True)[: 1 + several]]
        own = [[c for c in cases if c["organ"] == organ] for organ in known]
        lines.append(
            [
                name,
                *by_steps,
                bounded(mean(cases, method)),
                *["" if method == "ssm" else bounded(each, sign=True) for each in ahead],
                *[number(float(dice(each, method).mean())) for each in own],
            ]
        )
    return lines


def bounded(found: Interval, *, sign: bool = False) -> str:
    """Write a mean and its interval."""
    low, high = (number(bound, sign=sign) for bound in (found.low, found.high))
    return f"{number(found.mean, sign=sign)} [{low}, {high}]"


@options
class Options:
    """Print the tables of every group of splits."""

    test: tuple[Literal["within", "across"], ...] = ("within", "across")
    """Within volumes, across patients, or both."""


def main() -> None:
    """Print the tables."""
    options, cases = parse_words(Options, __doc__), read()
    for group, splits in GROUPS.items():
        for test in options.test:
            own = [case for case in cases if case["test"] == test and case["split"] in splits]
            print(f"\n{group}, {TESTS[test]}\n")
            for line in table(own):
                print("| " + " | ".join(line) + " |")


if __name__ == "__main__":
    run(main)
