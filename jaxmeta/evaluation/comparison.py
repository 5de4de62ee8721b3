"""What a table of cases says: a mean for every row, and paired differences between rows.

Patients, supports and training seeds are all drawn at random, so all of them make a mean uncertain.
A row's own interval is over patients (what a table of this field shows). A difference between two
rows is taken case by case and its interval is over patients and supports; where every organ was
learned for by several runs, a second one is over the runs too. `standings` makes the table of a
comparison of all this. What an interval is over, it names itself (`Interval.over`); how it is made
is in `intervals.py`."""

import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np

from jaxmeta.evaluation.intervals import Interval, Level, Means, holm, interval
from jaxmeta.evaluation.protocols.shared_patients import SUPPORT_SLICES
from jaxmeta.evaluation.segmenter import NAN, Case
from jaxmeta.metrics import Counts, count

LIMITS = {"dice": (0.0, 1.0), "iou": (0.0, 1.0)}  # between which no mean can help to lie
ANY = (-math.inf, math.inf)
# what stands for support patients where slices were drawn, not people
NOBODY = ("", *SUPPORT_SLICES)
OTHERS = ("precision", "recall", "volume_error", "hd95", "assd", "nsd")


class Margin(NamedTuple):
    """A paired difference between two rows."""

    supports: Interval  # over patients and supports
    runs: (
        Interval | None
    )  # over runs too, where they replicate: every organ was learned for by several

    @property
    def widest(self) -> Interval:
        """Give the interval that is over most."""
        return self.runs or self.supports


class Standing(NamedTuple):
    """A line of a comparison: its scores, how far it is ahead of the baseline and behind the best,
    or behind another line that all are held against."""

    row: str
    dice: Interval
    iou: Interval
    counts: Counts
    ahead: Margin | None
    behind: Margin | None
    others: dict[str, Means]
    chance: float = NAN  # p of `behind`, adjusted by Holm over all comparisons of the family


def row_mean(cases: Sequence[Case], measure: str = "dice") -> tuple[Interval, Counts]:
    """Mean over organs of the mean over their cases, with its interval over patients; and what
    stands behind it."""
    values = np.array([getattr(case, measure) for case in cases], np.float64)
    found = interval(values, organs(cases), [patients(cases)], limits=LIMITS.get(measure, ANY))
    return found, count(c.outcome for c in cases)


def other_means(cases: Sequence[Case]) -> dict[str, Means]:
    """Average what is measured beside Dice and IoU, inside organs first."""
    scored = [case for case in cases if case.outcome == "scored"]
    return {name: Means(mean(cases, name), mean(scored, name)) for name in OTHERS}


def mean(cases: Sequence[Case], measure: str) -> float:
    """Mean over organs of the mean over their cases; those without a number are left out."""
    values = {}
    for case in cases:
        if not math.isnan(value := getattr(case, measure)):
            values.setdefault(case.organ, []).append(value)
    return float(np.mean([np.mean(own) for own in values.values()])) if values else math.nan


def difference(
    ours: Sequence[Case], theirs: Sequence[Case], *, runs_too: bool = False, measure: str = "dice"
) -> Interval:
    """Mean of ours - theirs over cases that both have; its interval is over patients and supports
    (and runs).

    A pair in which one of the two has no number (both masks empty) has none either.
    """
    other = {pair_of(case): getattr(case, measure) for case in theirs}
    cases = [case for case in ours if pair_of(case) in other]
    values = np.array([getattr(c, measure) - other[pair_of(c)] for c in cases], np.float64)
    levels = [patients(cases), supports(cases)] + ([runs(cases)] if runs_too else [])
    low, high = LIMITS.get(measure, ANY)
    return interval(values, organs(cases), levels, limits=(low - high, high - low))


def pair_of(case: Case) -> tuple:
    """Name the question that a case answers, whichever row answers it."""
    return case.run, case.shots, case.organ, case.support_set, case.case


def questions(cases: Sequence[Case]) -> set[tuple]:
    """Collect what cases were asked: of which support, about which volume."""
    return {(*pair_of(case), case.support_slices, case.cohort) for case in cases}


def margin(ours: Sequence[Case], theirs: Sequence[Case]) -> Margin:
    """Take the difference, with the wider interval too where runs replicate."""
    over_runs = difference(ours, theirs, runs_too=True)
    return Margin(difference(ours, theirs), over_runs if "runs" in over_runs.over else None)


def standings(
    cases: Sequence[Case],
    methods: Sequence[str],
    baseline: str,
    *,
    apart: Sequence[str] = (),
    reference: str | None = None,
) -> list[Standing]:
    """Rank the rows that compete by their Dice, the other rows behind them in their own order.

    Every row but those `apart` (which answer other questions) is held against the baseline where
    there is one. Against the row named `against` too, and these comparisons are the family that p
    is adjusted over. Where none is named beforehand, every method is held against the best of
    them: who is chosen as the best of these very cases was compared with all, so all pairs of
    methods are the family.
    """
    rows = {}
    for case in cases:
        rows.setdefault(case.row, []).append(case)
    scores = {row: row_mean(own) for row, own in rows.items()}

    def dice(row: str) -> float:
        mean = scores[row][0].mean
        return -math.inf if math.isnan(mean) else mean

    ranked = sorted(methods, key=dice, reverse=True)
    if reference is None:
        first, family = ranked[0], list(combinations(ranked, 2))
    else:
        first = reference
        family = [(reference, row) for row in rows if row not in (reference, *apart)]
    margins = {pair: margin(rows[pair[0]], rows[pair[1]]) for pair in family}
    chances = adjusted(margins)
    lines = []
    for row in [*ranked, *(row for row in rows if row not in ranked)]:
        own, held = rows[row], baseline in rows and row not in (baseline, *apart)
        ahead = margin(own, rows[baseline]) if held else None
        behind, chance = margins.get((first, row)), chances.get((first, row), NAN)
        (score, counts), (iou, _) = scores[row], row_mean(own, "iou")
        lines.append(Standing(row, score, iou, counts, ahead, behind, other_means(own), chance))
    return lines


def adjusted(margins: Mapping[tuple[str, str], Margin]) -> dict[tuple[str, str], float]:
    """Adjust the p of a family of comparisons, each of the interval that is over most."""
    return dict(zip(margins, holm([each.widest.p for each in margins.values()]), strict=True))


def organs(cases: Sequence[Case]) -> list[str]:
    """Give the group of each case."""
    return [case.organ for case in cases]


def patients(cases: Sequence[Case]) -> Level:
    """Name patients, drawn inside their data set; the same patient in several runs is one."""
    return Level(
        [(case.cohort, case.patient) for case in cases],
        # people with a name of their own (--patient-pattern) are of no data set, and of one group
        [(case.cohort, case.patient.rpartition("/")[0]) for case in cases],
        "patients",
    )


def supports(cases: Sequence[Case]) -> Level:
    """Name supports by who given them, drawn inside a data set among those that the same runs were
    given.

    A patient unlike others gives for every organ alike. Slices that nobody in particular given are
    their own.
    """
    units = [
        (
            case.cohort,
            case.support_slices if case.support_patients in NOBODY else case.support_patients,
        )
        for case in cases
    ]
    given = {}
    for unit, case in zip(units, cases, strict=True):
        given.setdefault(unit, set()).add(case.run)
    strata = [(unit[0], dataset_of(unit[1]), frozenset(given[unit])) for unit in units]
    return Level(units, strata, "supports")


def dataset_of(support_patients: str) -> str:
    """Give the data set of the first who has one; people with a name of their own are of none."""
    before, slash, _ = support_patients.partition("/")
    return before.rpartition(" ")[2] if slash else ""


def runs(cases: Sequence[Case]) -> Level:
    """Name training runs, drawn among those that share an organ with each other."""
    asked, shared = {}, []
    for case in cases:
        asked.setdefault(case.run, set()).add(case.organ)
    for own in asked.values():
        joined = [group for group in shared if group & own]
        shared = [group for group in shared if not group & own] + [own.union(*joined)]
    group = {organ: number for number, group in enumerate(shared) for organ in group}
    return Level([case.run for case in cases], [group[case.organ] for case in cases], "runs")
