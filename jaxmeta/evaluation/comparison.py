"""What a table of scores says: a mean for every row, and paired differences between rows.

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

from jaxmeta.evaluation.intervals import Interval, Means, holm, interval
from jaxmeta.evaluation.protocols.shared_patients import SUPPORT_SLICES
from jaxmeta.evaluation.scoring import LATER, NAN, Score
from jaxmeta.evaluation.variance import Level
from jaxmeta.metrics import Counts, count

LIMITS = {"dice": (0.0, 1.0), "iou": (0.0, 1.0)}  # between which no mean can help to lie
ANY = (-math.inf, math.inf)
# what stands for support patients where slices were drawn, not people
NOBODY = ("", *SUPPORT_SLICES)
OTHER_MEASURES = tuple(name for name in LATER if name not in ("asd", "asd_back"))  # halves of ASSD


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


class TableRow(NamedTuple):
    """A row of a table: its scores, how far it is ahead of the baseline, and how far behind the
    method, the best, or another row that all are held against."""

    row: str
    dice: Interval
    iou: Interval
    counts: Counts
    ahead: Margin | None = None
    behind: Margin | None = None
    others: Mapping[str, Means] = {}  # by measure
    chance: float = NAN  # p of `behind`, adjusted by Holm over all comparisons of the family
    note: str = ""


def row_mean(scores: Sequence[Score], measure: str = "dice") -> tuple[Interval, Counts]:
    """Mean over organs of the mean over their cases, with its interval over patients; and what
    stands behind it."""
    values = np.array([getattr(score, measure) for score in scores], np.float64)
    found = interval(values, organs(scores), [patients(scores)], limits=LIMITS.get(measure, ANY))
    return found, count(c.outcome for c in scores)


def other_means(scores: Sequence[Score]) -> dict[str, Means]:
    """Average what is measured beside Dice and IoU, inside organs first."""
    scored = [score for score in scores if score.outcome == "scored"]
    return {name: Means(mean(scores, name), mean(scored, name)) for name in OTHER_MEASURES}


def mean(scores: Sequence[Score], measure: str) -> float:
    """Mean over organs of the mean over their cases; those without a number are left out."""
    values = {}
    for score in scores:
        if not math.isnan(value := getattr(score, measure)):
            values.setdefault(score.organ, []).append(value)
    return float(np.mean([np.mean(own) for own in values.values()])) if values else math.nan


def difference(
    ours: Sequence[Score], theirs: Sequence[Score], *, runs_too: bool = False, measure: str = "dice"
) -> Interval:
    """Mean of ours - theirs over cases that both have; its interval is over patients and supports
    (and runs).

    A pair in which one of the two has no number (both masks empty) has none either.
    """
    other = {case_of(score): getattr(score, measure) for score in theirs}
    scores = [score for score in ours if case_of(score) in other]
    values = np.array([getattr(c, measure) - other[case_of(c)] for c in scores], np.float64)
    levels = [patients(scores), supports(scores)] + ([runs(scores)] if runs_too else [])
    low, high = LIMITS.get(measure, ANY)
    return interval(values, organs(scores), levels, limits=(low - high, high - low))


def case_of(score: Score) -> tuple:
    """Name the evaluation case that a score is of, whichever row has it."""
    return score.run, score.shots, score.organ, score.support_set, score.case


def evaluation_cases(scores: Sequence[Score]) -> set[tuple]:
    """Collect the evaluation cases: of which support, about which volume."""
    return {(*case_of(score), score.support_slices, score.cohort) for score in scores}


def margin(ours: Sequence[Score], theirs: Sequence[Score]) -> Margin:
    """Take the difference, with the wider interval too where runs replicate."""
    over_runs = difference(ours, theirs, runs_too=True)
    return Margin(difference(ours, theirs), over_runs if "runs" in over_runs.over else None)


def standings(
    scores: Sequence[Score],
    methods: Sequence[str],
    baseline: str,
    *,
    apart: Sequence[str] = (),
    reference: str | None = None,
) -> list[TableRow]:
    """Rank the rows that compete by their Dice, the other rows behind them in their own order.

    Every row but those `apart` (which answer other questions) is held against the baseline where
    there is one. Against the `reference` row too, and these comparisons are the family that p
    is adjusted over. Where none is named beforehand, every method is held against the best of
    them: who is chosen as the best of these very cases was compared with all, so all pairs of
    methods are the family.
    """
    rows = {}
    for score in scores:
        rows.setdefault(score.row, []).append(score)
    means = {row: row_mean(own) for row, own in rows.items()}

    def dice(row: str) -> float:
        mean = means[row][0].mean
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
        (score, counts), (iou, _) = means[row], row_mean(own, "iou")
        lines.append(TableRow(row, score, iou, counts, ahead, behind, other_means(own), chance))
    return lines


def adjusted(margins: Mapping[tuple[str, str], Margin]) -> dict[tuple[str, str], float]:
    """Adjust the p of a family of comparisons, each of the interval that is over most."""
    return dict(zip(margins, holm([each.widest.p for each in margins.values()]), strict=True))


def organs(scores: Sequence[Score]) -> list[str]:
    """Give the group of each case."""
    return [score.organ for score in scores]


def patients(scores: Sequence[Score]) -> Level:
    """Name patients, drawn inside their data set; the same patient in several runs is one."""
    return Level(
        [(score.cohort, score.patient) for score in scores],
        # people with a name of their own (`patient_pattern`) are of no data set, and of one group
        [(score.cohort, score.patient.rpartition("/")[0]) for score in scores],
        "patients",
    )


def supports(scores: Sequence[Score]) -> Level:
    """Name supports by who gave them, drawn inside a data set among those that the same runs were
    given.

    A patient unlike others gives for every organ alike. Slices of no patient in particular are
    their own.
    """
    units = [
        (
            score.cohort,
            score.support_slices if score.support_patients in NOBODY else score.support_patients,
        )
        for score in scores
    ]
    given = {}
    for unit, score in zip(units, scores, strict=True):
        given.setdefault(unit, set()).add(score.run)
    strata = [(unit[0], dataset_of(unit[1]), frozenset(given[unit])) for unit in units]
    return Level(units, strata, "supports")


def dataset_of(support_patients: str) -> str:
    """Give the data set of the first who has one; people with a name of their own are of none."""
    before, slash, _ = support_patients.partition("/")
    return before.rpartition(" ")[2] if slash else ""


def runs(scores: Sequence[Score]) -> Level:
    """Name training runs, drawn among those that share an organ with each other."""
    asked, shared = {}, []
    for score in scores:
        asked.setdefault(score.run, set()).add(score.organ)
    for own in asked.values():
        joined = [group for group in shared if group & own]
        shared = [group for group in shared if not group & own] + [own.union(*joined)]
    group = {organ: number for number, group in enumerate(shared) for organ in group}
    return Level([score.run for score in scores], [group[score.organ] for score in scores], "runs")
