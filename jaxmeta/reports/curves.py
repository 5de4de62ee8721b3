"""Dice after so many inner steps: the mean of each row, and by how much one row is ahead of each
other there."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxmeta.evaluation.comparison import Margin, margin, row_mean
from jaxmeta.evaluation.intervals import Interval
from jaxmeta.evaluation.outcome import Curves
from jaxmeta.reports import figures
from jaxmeta.reports.figures import RUNS, SUPPORTS, number, over, with_interval


class AfterSteps(NamedTuple):
    """What the curves of a table say; both are empty where there are none."""

    means: dict[str, dict[int, Interval]]
    ahead: dict[str, dict[int, Margin]]  # `reference` minus each other row
    reference: str


def after_steps(curves: Curves, reference: str) -> AfterSteps:
    """Average what each row has after so many steps, and take paired differences to the row
    `reference`."""
    means = {
        row: {count: row_mean(scores)[0] for count, scores in own.items()}
        for row, own in curves.items()
    }
    ours = curves.get(reference, {})
    ahead = {
        row: {count: margin(ours[count], scores) for count, scores in own.items() if count in ours}
        for row, own in curves.items()
        if row != reference
    }
    return AfterSteps(means, {row: own for row, own in ahead.items() if own}, reference)


def tables(after: AfterSteps) -> list[list[list[str]]]:
    """Write the cells of both tables, as far as there are any."""
    if not after.means:
        return []
    means = {
        row: {n: number(each.mean) for n, each in own.items()} for row, own in after.means.items()
    }
    shown = [curve_cells("Dice after so many inner steps", means)]
    if after.ahead:
        column = [each.widest for own in after.ahead.values() for each in own.values()]
        widest = {
            row: {n: with_interval(each.widest, column, sign=True) for n, each in own.items()}
            for row, own in after.ahead.items()
        }
        asked = RUNS if any(each.over[-1:] == RUNS[-1:] for each in column) else SUPPORTS
        head = f"{after.reference} minus, after so many {over(column, asked)}"
        shown.append(curve_cells(head, widest))
    return shown


def curve_cells(title: str, values: Mapping[str, Mapping[int, str]]) -> list[list[str]]:
    """Lay values out, a line a row and a column for each number of steps."""
    counts = sorted({count for own in values.values() for count in own})
    lines = [[row, *(own.get(count, "") for count in counts)] for row, own in values.items()]
    return [[title, *map(str, counts)], *lines]


def draw(folder: Path, shots: int, after: AfterSteps) -> list[Path]:
    """Draw the means, a line a row, where there are any; give the picture's path."""
    if not after.means:
        return []
    path = folder / f"steps_{shots}shot.png"
    series = {
        f"Dice/{row}": (sorted(own), [own[count].mean for count in sorted(own)])
        for row, own in after.means.items()
    }
    figures.curves(path, series, along="inner steps", marker="o")
    return [path]


def joined_curves(parts: Sequence[Curves]) -> Curves:
    """Put the curves of several tests together, where all were asked after as many steps."""
    found = {}
    for row in dict.fromkeys(row for part in parts for row in part):
        own = [part.get(row, {}) for part in parts]
        counts = [count for count in own[0] if all(count in curve for curve in own)]
        if counts:
            found[row] = {n: [score for curve in own for score in curve[n]] for n in counts}
    return found
