"""The columns of a report's tables: a new one is a value in `COLUMNS`.

A column has a head, which may say what the intervals below it are over, and a cell of each row.
"""

import math
from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import NamedTuple

from jaxmeta.evaluation.comparison import Margin, TableRow
from jaxmeta.reports.figures import (
    OVER_PATIENTS,
    RUNS,
    SUPPORTS,
    columns,
    distance_text,
    number,
    over,
    with_interval,
)

Rows = Sequence[TableRow]


class Column(NamedTuple):
    """A column of a table; a cell may depend on the others, as intervals are over the same."""

    head: Callable[[Rows], str]
    cell: Callable[[TableRow, Rows], str]
    shown: Callable[[Rows], bool] = lambda rows: True


def count_column(head: str, of: str) -> Column:
    """Make the column of a count of cases."""
    return Column(lambda rows: head, lambda row, rows: str(getattr(row.counts, of)))


def mean_column(head: str, measure: str, written: Callable, beside: Sequence[str] = ()) -> Column:
    """Make the column of a mean, shown where any row has a number of it or of those `beside` it."""

    def cell(row: TableRow, rows: Rows) -> str:
        return written(row.others[measure]) if row.others else ""

    def shown(rows: Rows) -> bool:
        means = [row.others[name].all for row in rows if row.others for name in (measure, *beside)]
        return not all(map(math.isnan, means))

    return Column(lambda rows: head, cell, shown)


def share(means) -> str:
    """Write a mean that is a share, over all cases that have it."""
    return number(means.all)


DICE = Column(
    lambda rows: f"Dice {over([row.dice for row in rows], OVER_PATIENTS)}",
    lambda row, rows: with_interval(row.dice, [each.dice for each in rows]),
)
FALSE_POSITIVES = count_column("false positives", "false_alarms")
COLUMNS = (
    DICE,
    Column(lambda rows: "IoU", lambda row, rows: number(row.iou.mean)),
    mean_column("HD95", "hd95", distance_text, beside=("nsd",)),
    mean_column("NSD", "nsd", share, beside=("hd95",)),
    count_column("cases", "cases"),
    count_column("missed", "missed"),
    FALSE_POSITIVES,
)


def difference_column(head: str, of: Callable[[TableRow], Margin | None]) -> list[Column]:
    """Make the column of a paired difference, and one of its intervals over runs where there
    are."""

    def column(part: str, asked: Sequence[str], head: Callable[[str], str]) -> Column:
        def known(rows: Rows) -> list:
            margins = [margin for row in rows if (margin := of(row))]
            return [each for margin in margins if (each := getattr(margin, part))]

        def cell(row: TableRow, rows: Rows) -> str:
            margin = of(row)
            each = margin and getattr(margin, part)
            return with_interval(each, known(rows), sign=True) if each else ""

        def title(rows: Rows) -> str:
            return head(over(known(rows), asked) if known(rows) else "")

        return Column(title, cell, lambda rows: part == "supports" or bool(known(rows)))

    return [
        column("supports", SUPPORTS, lambda told: f"{head} {told}".rstrip()),
        column("runs", RUNS, lambda told: told),
    ]


def cells(
    rows: Rows, compared: str, of: Callable[[TableRow], Margin | None] = attrgetter("behind")
) -> list[list[str]]:
    """Write the cells of a table, the head first: every row with all columns that are shown, and
    the difference `of` it that is `compared`."""
    shown = [each for each in (*COLUMNS, *difference_column(compared, of)) if each.shown(rows)]
    body = [[row.row, *(each.cell(row, rows) for each in shown)] for row in rows]
    return [["", *(each.head(rows) for each in shown)], *body]


def table(
    title: str,
    rows: Rows,
    compared: str,
    of: Callable[[TableRow], Margin | None] = attrgetter("behind"),
) -> str:
    """Lay one block of results out as text, with its notes."""
    text = columns(cells(rows, compared, of))
    text.insert(1, "-" * max(map(len, text)))
    notes = [f"  {row.row}: {row.note}" for row in rows if row.note]
    return "\n".join([title, *text, *notes])
