"""A comparison: the report of several methods, compared on identical questions.

For each number of shots a table ranks them beside the baselines that they share, with paired
differences to scratch, and to the best of them or a named one. Who may take part is `pairing.py`'s
business, the arithmetic that of `standings` in `jaxmeta/evaluation/comparison.py`.
"""

import math
from collections.abc import Iterable, Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from jaxmeta.evaluation.baselines import METHOD, SCRATCH, TRANSFER, WITH_ALL_LABELS
from jaxmeta.evaluation.comparison import TableRow, standings
from jaxmeta.evaluation.outcome import Curves, Outcome, Table
from jaxmeta.evaluation.scoring import Score
from jaxmeta.files import write_json
from jaxmeta.reports import comparison_pages, figures
from jaxmeta.reports.comparison_pages import Comparison, as_text
from jaxmeta.reports.curves import after_steps, joined_curves
from jaxmeta.reports.figures import RUNS, SUPPORTS, chance_text, over, with_interval
from jaxmeta.reports.pairing import ComparedRun, gathered, refuse_unpaired, run_part
from jaxmeta.reports.run import alive, by_organ, protocol


def write(
    folder: Path,
    entries: Sequence[ComparedRun],
    outcomes: Sequence[Outcome],
    reference: str | None = None,
) -> str:
    """Write the report of a comparison; return its tables as text.

    `entries` enter the runs whose tests gave `outcomes`; `reference` is the row that all others are
    held against, instead of the best method. Raises BadInput where the runs do not
    pair.
    """
    refuse_unpaired(entries)
    methods = list(dict.fromkeys(entry.row for entry in entries))
    comparisons, tables, scores = [], [], []
    for number, first in enumerate(outcomes[0].tables):
        asked = [(entry, o.tables[number]) for entry, o in zip(entries, outcomes, strict=True)]
        found = gathered([run_part(entry, of_run) for entry, of_run in asked])
        scores += found.scores
        lines = standings(
            found.scores, methods, SCRATCH, apart=WITH_ALL_LABELS, reference=reference
        )
        lines = [line._replace(note=found.notes[line.row]) for line in lines]
        held_against = reference or lines[0].row
        steps = after_steps(curves_of(asked, found.notes), held_against)
        seconds = {row: [t.seconds for entry, t in asked if entry.row == row] for row in methods}
        comparison = Comparison(
            first.shots,
            protocol(outcomes, found.scores, first.shots),
            headline(lines),
            lines,
            f"minus {SCRATCH}" if any(line.ahead for line in lines) else "",
            behind(lines, held_against, named=reference is not None),
            found.left_out,
            by_organ(found.scores, [line.row for line in lines]),
            steps,
            adaptation(seconds, outcomes),
            found.scores,
        )
        comparisons.append(comparison)
        tables.append(
            {
                "shots": first.shots,
                "protocol": comparison.protocol,
                "best": lines[0].row,
                "reference": held_against,
                "lines": lines,
                "left_out": found.left_out,
                "organs": comparison.organs,
                "by_steps": steps.means,
                "ahead_by_steps": steps.ahead,
                "adaptation_seconds": seconds,
            }
        )
    heads = []
    if any(score.row == TRANSFER for score in scores):
        heads = list(dict.fromkeys(alive(o.heads) for o in outcomes if o.heads))
    figures.write_scores(folder / "scores.csv", scores)
    told = [outcome._replace(tables=()) for outcome in outcomes]
    write_json(folder / "summary.json", {"runs": told, "jax": version("jax"), "tables": tables})
    runs = {row: [Path(e.folder) for e in entries if e.row == row] for row in methods}
    comparison_pages.write(folder, comparisons, runs, heads)
    return "\n\n".join([*map(as_text, comparisons), *heads, f"report: {folder}"])


def headline(lines: Sequence[TableRow]) -> str:
    """Say which method is best on these cases, and by how much."""
    best, following = lines[:2]
    ahead = [(best.ahead, SCRATCH, math.nan)] if best.ahead else []
    if following.behind and not best.behind:
        ahead.append((following.behind, following.row, following.chance))
    text = f"best: {best.row}, Dice {figures.number(best.dice.mean)}"
    for margin, other, p in ahead:
        text += f", {with_interval(margin.supports, sign=True)} over {other}"
        told = [f"over runs too: {with_interval(margin.runs, sign=True)}"] if margin.runs else []
        told += [] if math.isnan(p) else [f"p by Holm: {chance_text(p)}"]
        text += f" ({'; '.join(told)})" if told else ""
    if not (following.behind or best.behind).runs:
        text += "; one training run each, so another seed may rank them otherwise"
    return text


def behind(lines: Sequence[TableRow], reference: str, *, named: bool) -> list[list[str]]:
    """Write the cells that say by how much the best, or a method `named` beforehand, is ahead of
    each other.

    The best is chosen by the same cases, so its p is adjusted over all pairs of methods.
    """
    others = [line for line in lines if line.behind]
    columns = [[line.behind.supports for line in others]]
    heads = [over(columns[0], SUPPORTS)]
    if any(line.behind.runs for line in others):
        columns.append([line.behind.runs for line in others if line.behind.runs])
        heads.append(over(columns[1], RUNS))
    family = "named beforehand" if named else f"best of these, {pair_count(len(others) + 1)} pairs"
    rows = [[f"{reference} minus", *heads, f"p, Holm ({family})"]]
    for line in others:
        margins = zip(line.behind[: len(columns)], columns, strict=True)
        written = [with_interval(m, column, sign=True) if m else "" for m, column in margins]
        rows.append([line.row, *written, chance_text(line.chance)])
    return rows


def pair_count(methods: int) -> int:
    """Count the pairs of so many methods."""
    return methods * (methods - 1) // 2


def curves_of(asked: Sequence[tuple[ComparedRun, Table]], rows: Iterable[str]) -> Curves:
    """Gather the curves of each row of the table: a method's of every run, a baseline's once a
    replicate."""
    methods, replicates = ({e.row for e, _ in asked}, dict.fromkeys(e.replicate for e, _ in asked))
    curves = {}
    for row in rows:
        parts = {}
        for entry, table in asked:
            own = row if row not in methods else METHOD if entry.row == row else None
            if own in table.by_steps:
                parts.setdefault(entry.replicate, renamed_curve(table.by_steps[own], row, entry))
        curves |= joined_curves([{row: parts.get(each, {})} for each in replicates])
    return curves


def renamed_curve(
    curve: dict[int, list[Score]], row: str, entry: ComparedRun
) -> dict[int, list[Score]]:
    """Call the cases of a curve as the table calls theirs."""
    return {
        count: [score._replace(row=row, run=entry.replicate) for score in scores]
        for count, scores in curve.items()
    }


def adaptation(seconds: dict[str, list[float]], outcomes: Sequence[Outcome]) -> str:
    """Say how long one adaptation takes by each method."""
    took = ", ".join(f"{row} {np.median(own):.2f} s" for row, own in seconds.items())
    machines = " | ".join(dict.fromkeys(outcome.devices for outcome in outcomes))
    return f"one adaptation takes: {took}, on one of {machines}"
