"""What a table of cases says: a mean for every row, and paired differences between rows.

Patients, supports and training seeds are all drawn at random, so all of them make a mean uncertain. A
row's own interval resamples patients (what a table of this field shows). A difference between two
rows is taken case by case and resamples supports x patients; with several runs a second, wider
interval resamples the runs too. `standings` makes the table of a contest of all this.
"""

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxmeta.evaluate import NAN, Case
from jaxmeta.intervals import Interval, Level, Means, interval
from jaxmeta.metrics import Counts, count

LEAST = 6  # patients that an interval needs
OTHERS = ("precision", "recall", "volume_error", "hd95", "assd", "nsd")


class Margin(NamedTuple):
    """A paired difference between two rows."""

    supports: Interval  # supports x patients resampled
    runs: Interval | None  # runs resampled too, where there are several


class Standing(NamedTuple):
    """A line of a contest: its scores, how far it is ahead of the baseline and behind the best, or
    behind another line that all are held against."""

    row: str
    dice: Interval
    iou: Interval
    counts: Counts
    ahead: Margin | None
    behind: Margin | None
    others: dict[str, Means]


def row_mean(cases: Sequence[Case], measure: str = "dice") -> tuple[Interval, Counts]:
    """Mean over organs of the mean over their cases, patients resampled; and what stands behind it."""
    values = np.array([getattr(case, measure) for case in cases], np.float64)
    return interval(values, organs(cases), [patients(cases)]), count(c.outcome for c in cases)


def trusted(found: Interval, cases: Sequence[Case]) -> Interval:
    """Take the bounds away from a mean of fewer than `LEAST` patients, who cannot be resampled."""
    known = {(case.cohort, case.patient) for case in cases}
    return found if len(known) >= LEAST else found._replace(low=NAN, high=NAN, p=NAN)


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
    """Mean of ours - theirs over cases that both have, supports x patients (x runs) resampled.

    A pair in which one of the two has no number (both masks empty) has none either.
    """
    other = {pair_of(case): getattr(case, measure) for case in theirs}
    cases = [case for case in ours if pair_of(case) in other]
    values = np.array([getattr(c, measure) - other[pair_of(c)] for c in cases], np.float64)
    levels = [patients(cases), supports(cases)] + ([runs(cases)] if runs_too else [])
    return interval(values, organs(cases), levels)


def pair_of(case: Case) -> tuple:
    """Name the question that a case answers, whichever row answers it."""
    return case.run, case.shots, case.organ, case.draw, case.case


def questions(cases: Sequence[Case]) -> set[tuple]:
    """Collect what cases were asked: of which support, about which volume."""
    return {(*pair_of(case), case.support_slices, case.cohort) for case in cases}


def margin(ours: Sequence[Case], theirs: Sequence[Case]) -> Margin:
    """Take the difference, with the wider interval too where there are several runs."""
    again = replicated(ours)
    over_runs = trusted(difference(ours, theirs, runs_too=True), ours) if again else None
    return Margin(trusted(difference(ours, theirs), ours), over_runs)


def standings(
    cases: Sequence[Case],
    entrants: Sequence[str],
    baseline: str,
    *,
    apart: Sequence[str] = (),
    against: str | None = None,
) -> list[Standing]:
    """Rank the rows that compete by their Dice, the other rows behind them in their own order.

    Every row but those `apart` (which answer other questions) is held against the baseline where
    there is one. Against the entrant named `against` too; where none is named, every entrant is held against the
    best of them, which is best on these very cases: that flatters it a little, the closer the race the more.
    """
    rows = {}
    for case in cases:
        rows.setdefault(case.row, []).append(case)
    scores = {row: row_mean(own) for row, own in rows.items()}

    def dice(row: str) -> float:
        mean = scores[row][0].mean
        return -math.inf if math.isnan(mean) else mean

    ranked = sorted(entrants, key=dice, reverse=True)
    rivals = ranked if against is None else [row for row in rows if row not in apart]
    against = against or ranked[0]
    lines = []
    for row in [*ranked, *(row for row in rows if row not in ranked)]:
        own, held = rows[row], baseline in rows and row not in (baseline, *apart)
        ahead = margin(own, rows[baseline]) if held else None
        behind = margin(rows[against], own) if row in rivals and row != against else None
        score, counts = scores[row]
        iou, others = trusted(row_mean(own, "iou")[0], own), other_means(own)
        lines.append(Standing(row, trusted(score, own), iou, counts, ahead, behind, others))
    return lines


def organs(cases: Sequence[Case]) -> list[str]:
    """Give the group of each case."""
    return [case.organ for case in cases]


def patients(cases: Sequence[Case]) -> Level:
    """Resample patients inside their data set; the same patient in several runs is one."""
    return Level(
        [(case.cohort, case.patient) for case in cases],
        # people with a name of their own (--patient-pattern) are of no data set, and of one group
        [(case.cohort, case.patient.rpartition("/")[0]) for case in cases],
    )


def supports(cases: Sequence[Case]) -> Level:
    """Resample supports inside an organ, among those that the same runs were given."""
    units = [(case.cohort, case.organ, case.support_slices) for case in cases]
    given = {}
    for unit, case in zip(units, cases, strict=True):
        given.setdefault(unit, set()).add(case.run)
    return Level(units, [(*unit[:2], frozenset(given[unit])) for unit in units])


def runs(cases: Sequence[Case]) -> Level:
    """Resample training runs, among those that share an organ with each other."""
    asked, shared = {}, []
    for case in cases:
        asked.setdefault(case.run, set()).add(case.organ)
    for own in asked.values():
        joined = [group for group in shared if group & own]
        shared = [group for group in shared if not group & own] + [own.union(*joined)]
    group = {organ: number for number, group in enumerate(shared) for organ in group}
    return Level([case.run for case in cases], [group[case.organ] for case in cases])


def replicated(cases: Sequence[Case]) -> bool:
    """Tell whether every organ was learned for by several runs, so that these can be resampled."""
    unit, stratum = runs(cases)
    pairs = set(zip(stratum, unit, strict=True))
    return min(Counter(of for of, _ in pairs).values(), default=0) > 1
