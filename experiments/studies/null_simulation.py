"""How often the project's own 95 % intervals hold the truth, where the truth is known.

    python -m experiments.studies.null_simulation                    # coverage and share of p < .05
    python -m experiments.studies.null_simulation --old              # of the percentile bootstrap before

Each design is one that reports really have: patients inside data sets, supports inside organs, runs
that share patients or have cohorts of their own. Its records are drawn from a model of crossed and
nested random effects whose mean is known,

    x = mean + patient + patient x organ + support + run + run x organ + residual,

and the interval is the project's (`patients`, `supports` and `runs` of `jaxmeta/compare.py` name the
units, `jaxmeta/intervals.py` does the arithmetic). A support's own patient is not asked about under
it, as in a test. Where the mean is 0, p < .05 is a false alarm.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from experiments.command import parse_words
from experiments.command import run as run_command
from jaxmeta.compare import organs, patients, runs, supports
from jaxmeta.evaluate import Case
from jaxmeta.intervals import Level, interval, numbered

LEAST = 0.93  # coverage that every design must have


class Design(NamedTuple):
    """Who is asked what; and the standard deviations of the effects, any of which may be 0."""

    name: str
    datasets: int = 1
    organs: int = 1  # in each data set
    patients: int = 16  # in each data set
    supports: int = 4  # of each organ
    runs: int = 1
    each: str = "shared"  # what runs have: the patients and supports of all, or their "own" cohorts
    over: str = "supports"  # the interval's last level: patients, supports or runs
    patient: float = 0.1
    patient_organ: float = 0.1
    support: float = 0.1
    run: float = 0.0
    run_organ: float = 0.0
    residual: float = 0.1
    uneven: tuple[float, ...] = (1.0,)  # by what the supports of each organ in turn differ more or less
    shape: str = "normal"  # of all effects: normal, heavy (t with 3 degrees) or dice (skewed, bounded)
    mean: float = 0.0


# Four organs of two data sets of 16 patients are the default preset's test.
FOUR = Design("", datasets=2, organs=2)
DESIGNS = (
    Design("mean of 2 x 16 patients", 2, 2, support=0.0, over="patients", mean=0.7),
    Design("mean of 2 x 16, Dice-like", 2, 2, support=0.0, over="patients", mean=0.7, shape="dice"),
    *(
        Design(
            f"mean of {n} patients, Dice-like", 1, 1, n, 4, support=0.0, over="patients", shape="dice"
        )
        for n in (2, 3, 6, 10)
    ),
    FOUR._replace(name="4 organs x 4 supports (default)"),
    FOUR._replace(name="4 x 4, patients alone differ", support=0.0),
    FOUR._replace(name="4 x 4, supports alone differ", patient=0.0, patient_organ=0.0, residual=0.02),
    FOUR._replace(name="4 x 4, nothing but residuals", patient=0.0, patient_organ=0.0, support=0.0),
    FOUR._replace(name="4 x 4, heavy tails", shape="heavy"),
    FOUR._replace(name="4 x 4, Dice-like", shape="dice"),
    FOUR._replace(name="4 x 4, one organ's supports", uneven=(1.0, 0.0, 0.0, 0.0), patient=0.02),
    FOUR._replace(name="4 organs x 2 supports", supports=2),
    FOUR._replace(name="4 x 2, supports alone differ", supports=2, patient=0.0, residual=0.02),
    FOUR._replace(name="4 x 2, uneven supports", supports=2, uneven=(1.0, 0.3, 0.3, 0.1)),
    FOUR._replace(
        name="4 x 2, one organ's supports",
        supports=2,
        uneven=(1.0, 0.0, 0.0, 0.0),
        patient=0.02,
        patient_organ=0.02,
        residual=0.02,
    ),
    Design("2 organs x 2 draws (as MetaMedSeg)", 2, 1, 12, 2),
    Design("1 organ x 2 draws", supports=2),
    Design("1 organ x 2 draws, supports dominate", supports=2, patient=0.05, patient_organ=0.0),
    Design("1 organ x 2 draws, 2 patients", patients=2, supports=2),
    Design("1 organ x 3 draws, 3 patients", patients=3, supports=3),
    Design("4 organs, 3 supports, 3 patients", 1, 4, 3, 3),
    Design("1 organ, 4 supports, 6 patients", 1, 1, 6, 4),
    Design("4 organs, 1 support, 10 patients", 1, 4, 10, 1, support=0.0),
    FOUR._replace(name="3 runs, own cohorts", runs=3, each="own", over="runs", run=0.05),
    FOUR._replace(
        name="3 runs, own cohorts, runs dominate", runs=3, each="own", over="runs", run=0.2
    ),
    FOUR._replace(name="3 runs, own cohorts, runs level", runs=3, each="own", over="runs"),
    FOUR._replace(name="2 runs, own cohorts", runs=2, each="own", over="runs", run=0.05),
    FOUR._replace(name="2 runs, own cohorts, dominate", runs=2, each="own", over="runs", run=0.2),
    FOUR._replace(name="3 runs, shared cohort", runs=3, over="runs", run=0.05, run_organ=0.05),
    FOUR._replace(name="2 runs, shared cohort", runs=2, over="runs", run=0.05, run_organ=0.05),
    FOUR._replace(name="2 runs, shared, supports alone", runs=2, over="runs", patient=0.0),
    FOUR._replace(name="5 runs, shared, heavy tails", runs=5, over="runs", run=0.1, shape="heavy"),
)


def cases_of(design: Design) -> list[Case]:
    """Ask what the design asks: cases of one row, whose scores are yet to come."""
    return [
        Case(
            row="a",
            organ=f"organ {set}.{organ}",
            draw=draw,
            support_patients=f"{set}/p{draw}",
            support_slices=f"{set}/p{draw}:{organ}",
            patient=f"{set}/p{patient}",
            case=f"{set}/p{patient}",
            dice=0.0,
            iou=0.0,
            outcome="scored",
            run=f"run {run}",
            cohort=f"cohort {run}" if design.each == "own" else "cohort",
        )
        for run in range(design.runs)
        for set in range(design.datasets)
        for organ in range(design.organs)
        for draw in range(design.supports)
        for patient in range(design.patients)
        if design.patients == 1 or patient != draw
    ]


def levels_of(design: Design, cases: list[Case]) -> list[Level]:
    """Name what the interval resamples."""
    named = {"patients": patients, "supports": supports, "runs": runs}
    wanted = list(named)[: list(named).index(design.over) + 1]
    return [named[level](cases) for level in wanted]


def drawn(
    design: Design, cases: list[Case], samples: int, rng: np.random.Generator
) -> Float[np.ndarray, "R B"]:
    """Draw the records of a design again and again: all effects, and their sum."""

    def effect(units: list, size: float | np.ndarray) -> np.ndarray:
        of = numbered(units)
        return (SHAPES[design.shape](rng, (of.max() + 1, samples)) * size)[of]

    of = numbered([case.organ for case in cases])
    uneven = np.resize(design.uneven, of.max() + 1)[of][:, None]
    who = [(case.cohort, case.patient) for case in cases]
    whose = [(case.cohort, case.organ, case.support_slices) for case in cases]
    return (
        design.mean
        + effect(who, design.patient)
        + effect([(*w, c.organ) for w, c in zip(who, cases, strict=True)], design.patient_organ)
        + effect(whose, design.support) * uneven
        + effect([case.run for case in cases], design.run)
        + effect([(case.run, case.organ) for case in cases], design.run_organ)
        + effect(list(range(len(cases))), design.residual)
    )


def dice_like(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw from Beta(6, 2), as skewed as patients' Dice are (-.7), made to mean 0 and deviation 1."""
    return (rng.beta(6, 2, size=shape) - 6 / 8) / np.sqrt(6 * 2 / (8**2 * 9))


SHAPES: dict[str, Callable] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy": lambda rng, shape: rng.standard_t(3, size=shape) / np.sqrt(3),
    "dice": dice_like,
}


def coverage(design: Design, samples: int, seed: int = 0) -> tuple[float, float, float]:
    """Tell how often the interval held the mean, how often p was below .05, and the interval's width.

    The width is in units of that which somebody would give who knew the standard error.
    """
    cases = cases_of(design)
    values = drawn(design, cases, samples, np.random.default_rng(seed))
    groups, levels = organs(cases), levels_of(design, cases)
    found = [interval(each, groups, levels) for each in values.T]
    held = [f.low <= design.mean <= f.high for f in found]
    width = np.mean([f.high - f.low for f in found]) / 2 / 1.96 / np.std([f.mean for f in found])
    return float(np.mean(held)), float(np.mean([f.p < 0.05 for f in found])), float(width)


@dataclass(frozen=True)
class Options:
    """Simulate null comparisons of every design, and print how often intervals held the truth."""

    samples: int = 1000
    """Data sets drawn of each design."""


def main() -> None:
    """Print a line a design."""
    options = parse_words(Options, __doc__)
    print(f"{'design':40}coverage  p < .05  width")
    for design in DESIGNS:
        held, alarms, width = coverage(design, options.samples)
        told = f"{alarms:8.3f}" if design.mean == 0 else " " * 8
        print(f"{design.name:40}{held:8.3f} {told} {width:6.2f}", flush=True)


if __name__ == "__main__":
    run_command(main)
