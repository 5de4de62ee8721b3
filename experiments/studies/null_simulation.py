"""How often the project's own 95 % intervals hold the truth, where the truth is known.

    python -m experiments.studies.null_simulation           # coverage and share of p < .05
    python -m experiments.studies.null_simulation --old     # of the percentile bootstrap before

Each design is one that reports really have: patients inside data sets, supports inside organs, runs
that share patients or have cohorts of their own. Its records are drawn from a model of crossed and
nested random effects whose mean is known,

    x = mean + patient + patient x organ + support patient + support + run + run x organ + residual,

and the interval is the project's (`patients`, `supports` and `runs` of
`jaxmeta/evaluation/comparison.py` name the units, `jaxmeta/evaluation/intervals.py` does the
arithmetic). A support's own patient is not asked about under it, as in a test. Where the mean is 0,
p < .05 is a false alarm."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.studies.percentile_bootstrap import bounds
from jaxmeta.commands.command import parse_words
from jaxmeta.commands.command import run as run_command
from jaxmeta.evaluation.comparison import organs, patients, runs, supports
from jaxmeta.evaluation.intervals import chance, half_width
from jaxmeta.evaluation.scoring import Score
from jaxmeta.evaluation.variance import Level, estimate, numbered
from jaxmeta.options import options

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
    support_patient: float = 0.05  # who gives a support, for whichever organ
    support: float = 0.1
    apart: int = (
        2  # an organ's first support patient is so many patients after that of the organ before
    )
    run: float = 0.0
    run_organ: float = 0.0
    residual: float = 0.1
    uneven: tuple[float, ...] = (
        1.0,
    )  # by what the supports of each organ in turn differ more or less
    having: tuple[int, ...] = ()  # how many patients of its data set have each organ in turn
    scans: tuple[int, ...] = (1,)  # how many volumes each patient in turn has
    shape: str = (
        "normal"  # of all effects: normal, heavy (t with 3 degrees) or dice (skewed, bounded)
    )
    mean: float = 0.0


# Four organs of two data sets of 16 patients are the default preset's test. Which labelled slice is
# given changes a difference between methods by more than who is asked does.
FOUR = Design("", datasets=2, organs=2, patient=0.05, patient_organ=0.05, support=0.15)
ONE = FOUR._replace(datasets=1, organs=1)
MEAN = Design("", support_patient=0.0, support=0.0, over="patients", mean=0.7)
SUPPORTS = {
    "patient": 0.0,
    "patient_organ": 0.0,
    "support_patient": 0.0,
    "residual": 0.02,
}  # all else is little
ALL = {"datasets": 1, "apart": 0}
SUPPORT_PATIENTS = {"patient": 0.0, "patient_organ": 0.0, "support": 0.0, "support_patient": 0.15}
REAL = ONE._replace(organs=2, having=(20, 5))
LEFT_OUT = {"datasets": 1, "organs": 4, "patients": 3, "supports": 3}
DESIGNS = (
    MEAN._replace(name="mean of 2 x 16 patients", datasets=2, organs=2),
    MEAN._replace(name="mean of 2 x 16, Dice-like", datasets=2, organs=2, shape="dice"),
    *(
        MEAN._replace(name=f"mean of {n} patients, Dice-like", patients=n, shape="dice")
        for n in (2, 3, 6, 10)
    ),
    FOUR._replace(name="4 organs x 4 supports (default)"),
    FOUR._replace(name="4 x 4, patients differ most", patient=0.1, patient_organ=0.1, support=0.05),
    FOUR._replace(name="4 x 4, patients alone differ", support=0.0, support_patient=0.0),
    FOUR._replace(name="4 x 4, supports alone differ", **SUPPORTS),
    FOUR._replace(
        name="4 x 4, nothing but residuals", **SUPPORTS | {"support": 0, "residual": 0.1}
    ),
    FOUR._replace(name="4 x 4, support patients alone differ", **SUPPORT_PATIENTS),
    FOUR._replace(
        name="4 x 4, the same support patients for all", **SUPPORT_PATIENTS | ALL, organs=4
    ),
    FOUR._replace(
        name="4 x 2, the same support patients for all",
        **SUPPORT_PATIENTS | ALL,
        organs=4,
        supports=2,
    ),
    FOUR._replace(name="4 x 4, heavy tails", shape="heavy"),
    FOUR._replace(name="4 x 4, Dice-like", shape="dice"),
    FOUR._replace(name="4 x 4, one organ's supports", **SUPPORTS, uneven=(1.0, 0.0, 0.0, 0.0)),
    FOUR._replace(name="4 organs x 2 supports", supports=2),
    FOUR._replace(name="4 x 2, supports alone differ", supports=2, **SUPPORTS),
    FOUR._replace(name="4 x 2, uneven supports", supports=2, uneven=(1.0, 0.3, 0.3, 0.1)),
    FOUR._replace(
        name="4 x 2, one organ's supports", supports=2, uneven=(1.0, 0.0, 0.0, 0.0), **SUPPORTS
    ),
    FOUR._replace(name="2 organs x 2 supports (MetaMedSeg)", organs=1, patients=12, supports=2),
    ONE._replace(name="1 organ x 2 supports", supports=2),
    ONE._replace(name="1 x 2, supports alone differ", supports=2, **SUPPORTS),
    ONE._replace(name="1 x 2, Dice-like", supports=2, shape="dice"),
    ONE._replace(name="1 x 2, 2 patients", patients=2, supports=2),
    ONE._replace(name="1 x 3, 3 patients, Dice-like", patients=3, supports=3, shape="dice"),
    ONE._replace(name="1 x 4, 6 patients", patients=6),
    FOUR._replace(name="4 x 3, 3 patients", datasets=1, organs=4, patients=3, supports=3),
    FOUR._replace(
        name="4 x 1, 10 patients",
        datasets=1,
        organs=4,
        patients=10,
        supports=1,
        support=0.0,
        support_patient=0.0,
    ),
    FOUR._replace(
        name="3 of 10 patients have an organ", organs=2, patients=10, having=(10, 3), supports=3
    ),
    FOUR._replace(
        name="4 x 1, 8 patients of 1 to 8 scans",
        datasets=1,
        organs=4,
        patients=8,
        supports=1,
        support=0.0,
        support_patient=0.0,
        scans=(1, 1, 2, 8),
    ),
    *(
        FOUR._replace(
            name=f"{n} runs, own cohorts{told}",
            runs=n,
            each="own",
            over="runs",
            run=run,
            shape=shape,
        )
        for n in (2, 3)
        for told, run, shape in (
            ("", 0.05, "normal"),
            (", runs differ most", 0.2, "normal"),
            (", level, Dice-like", 0.0, "dice"),
        )
    ),
    # As tables of RESULTS.md, beside the default's.
    FOUR._replace(name="4 x 4, cohorts of 3 runs", runs=3, each="own"),
    MEAN._replace(name="mean of 20 and 5 patients", organs=2, having=(20, 5)),
    REAL._replace(name="20 and 5 patients x 4"),
    REAL._replace(name="20 and 5 patients x 4, 3 runs", runs=3, each="own", over="runs", run=0.05),
    REAL._replace(name="20 and 5 patients x 2, of 3 runs", supports=2, runs=3, each="own"),
    FOUR._replace(name="4 x 3, 3 patients, of 2 runs", runs=2, each="own", **LEFT_OUT),
    FOUR._replace(
        name="4 x 3, 3 patients, 2 runs", runs=2, each="own", over="runs", run=0.05, **LEFT_OUT
    ),
    *(
        FOUR._replace(
            name=f"{n} runs, one cohort{told}",
            runs=n,
            over="runs",
            run=run,
            run_organ=run,
            shape=shape,
        )
        for n, told, run, shape in (
            (2, "", 0.1, "normal"),
            (2, ", level", 0.0, "normal"),
            (3, "", 0.1, "normal"),
            (3, ", Dice-like", 0.05, "dice"),
            (5, ", heavy tails", 0.1, "heavy"),
        )
    ),
)


def cases_of(design: Design) -> list[Score]:
    """Ask what the design asks: cases of one row, whose scores are yet to come."""
    return [
        Score(
            row="a",
            organ=f"organ {set}.{organ}",
            support_set=support_set,
            support_patients=f"{set}/p{support_patient(design, organ, support_set)}",
            support_slices=f"{set}/p{support_patient(design, organ, support_set)}:{organ}",
            patient=f"{set}/p{patient}",
            case=f"{set}/p{patient}_{scan}",
            dice=0.0,
            iou=0.0,
            outcome="scored",
            run=f"run {run}",
            cohort=f"cohort {run}" if design.each == "own" else "cohort",
        )
        for run in range(design.runs)
        for set in range(design.datasets)
        for organ in range(design.organs)
        for support_set in range(design.supports)
        for patient in range(np.resize(design.having or design.patients, design.organs)[organ])
        if patient != support_patient(design, organ, support_set)
        for scan in range(design.scans[patient % len(design.scans)])
    ]


def support_patient(design: Design, organ: int, support_set: int) -> int:
    """Number the patient who gives a support."""
    return (support_set + design.apart * organ) % design.patients


def levels_of(design: Design, cases: list[Score]) -> list[Level]:
    """Name what the interval is over."""
    named = {"patients": patients, "supports": supports, "runs": runs}
    wanted = list(named)[: list(named).index(design.over) + 1]
    return [named[level](cases) for level in wanted]


def drawn(
    design: Design, cases: list[Score], samples: int, rng: np.random.Generator
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
        + effect([(c.cohort, c.support_patients) for c in cases], design.support_patient)
        + effect(whose, design.support) * uneven
        + effect([case.run for case in cases], design.run)
        + effect([(case.run, case.organ) for case in cases], design.run_organ)
        + effect(list(range(len(cases))), design.residual)
    )


def dice_like(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """Draw from Beta(6, 2), as skewed as patients' Dice are (-.7), made to mean 0 and deviation
    1."""
    return (rng.beta(6, 2, size=shape) - 6 / 8) / np.sqrt(6 * 2 / (8**2 * 9))


SHAPES: dict[str, Callable] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "heavy": lambda rng, shape: rng.standard_t(3, size=shape) / np.sqrt(3),
    "dice": dice_like,
}


def slices(cases: list[Score]) -> Level:
    """Name supports as the bootstrap did: by their slices, drawn inside an organ."""
    units = [(case.cohort, case.organ, case.support_slices) for case in cases]
    return Level(units, [unit[:2] for unit in units])


class Coverage(NamedTuple):
    """How often an interval held the mean, how often p was below .05, and the interval's width.

    The width is in units of that which somebody would give who knew the standard error.
    """

    held: float
    alarms: float
    width: float


def coverage(design: Design, samples: int, *, old: bool = False, seed: int = 0) -> Coverage:
    """Draw a design again and again, and look at the project's interval, or at the `old` one."""
    cases = cases_of(design)
    values = drawn(design, cases, samples, np.random.default_rng(seed))
    groups, levels = organs(cases), levels_of(design, cases)
    found = estimate(values, groups, levels)
    if old:
        levels = [slices(cases) if level.name == "supports" else level for level in levels]
        low, high, p = bounds(values, groups, levels)
    else:
        half, p = half_width(found, 0.05), chance(found)
        low, high = found.mean - half, found.mean + half
    held = (low <= design.mean) & (design.mean <= high)
    width = np.mean(high - low) / (2 * 1.96 * np.std(found.mean))
    return Coverage(float(held.mean()), float(np.mean(p < 0.05)), float(width))


@options
class Options:
    """Simulate null comparisons of every design, and print how often intervals held the truth."""

    samples: int = 2000
    """Data sets drawn of each design."""
    old: bool = False
    """Of the percentile bootstrap that intervals were made by before."""


def main() -> None:
    """Print a line a design."""
    options = parse_words(Options, __doc__)
    print(f"{'design':40}coverage  p < .05  width")
    for design in DESIGNS:
        held, alarms, width = coverage(design, options.samples, old=options.old)
        told = f"{alarms:8.3f}" if design.mean == 0 else " " * 8
        print(f"{design.name:40}{held:8.3f} {told} {width:6.2f}", flush=True)


if __name__ == "__main__":
    run_command(main)
