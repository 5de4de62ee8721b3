"""The folds of a protocol together: what a paper's table has, and the fold-level values behind it.

    python -m experiments.compare --run FOLD0 FOLD1 ...     of runs tested by a protocol

Each run answers for one fold and one group of organs. A row's mean is over the scans of an organ,
then over organs; a scan counts as often as the protocol's folds ask of it (once, but in what
descendants of ALPNet made of it). Folds differ by far more than methods do, so every fold's own
value is shown.
"""

from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmeta.errors import BadInput
from jaxmeta.evaluation.baselines import METHOD
from jaxmeta.evaluation.comparison import TableRow, other_means, row_mean
from jaxmeta.evaluation.outcome import Outcome
from jaxmeta.evaluation.protocols import alpnet
from jaxmeta.evaluation.scoring import Score
from jaxmeta.files import write_json
from jaxmeta.reports import figures, html
from jaxmeta.reports.columns import COLUMNS, DICE, FALSE_POSITIVES
from jaxmeta.reports.figures import number
from jaxmeta.reports.pages import BOXES, as_markdown, configured, draw_boxes, write_pages
from jaxmeta.runs import config_file
from jaxmeta.runs.identity import names

BESIDE_DICE = tuple(each for each in COLUMNS if each not in (DICE, FALSE_POSITIVES))


class Fold(NamedTuple):
    """A run of a protocol, and its cases."""

    setting: int
    fold: int
    scores: list[Score]
    outcome: Outcome


class SettingResult(NamedTuple):
    """What the folds of one setting say together."""

    setting: int
    head: str
    tables: list[list[list[str]]]  # rows by organ; the method by fold, without and with the oracle
    scores: list[Score]
    left_out: list[str]  # rows that not every run has, which would be means over other scans


def write(folder: Path, outcomes: Sequence[Outcome]) -> str:
    """Write the tables of every setting, as files and as a page; return them as text.

    Raises BadInput where runs of several protocols, algorithms or settings are mixed, or a scan is
    asked twice.
    """
    runs = [opened(outcome) for outcome in outcomes]
    refuse_mixed(outcomes)
    parts = []
    for setting in sorted({run.setting for run in runs}):
        own = [run for run in runs if run.setting == setting]
        refuse_same_fold(own)
        parts.append(setting_result(setting, own))
    figures.write_scores(folder / "scores.csv", [score for part in parts for score in part.scores])
    told = [outcome._replace(tables=()) for outcome in outcomes]
    tables = [
        {"setting": part.setting, "lines": part.tables[0], "folds": part.tables[1]}
        for part in parts
    ]
    write_json(folder / "summary.json", {"runs": told, "jax": version("jax"), "tables": tables})
    write_page(folder, parts, outcomes)
    texts = []
    for part in parts:
        lines, *others = ("\n".join(figures.columns(cells)) for cells in part.tables)
        texts += ["\n".join([part.head, lines, *part.left_out]), *others]
    texts += [asked(outcome) for outcome in outcomes]
    return "\n\n".join([*texts, f"report: {folder}"])


def setting_result(setting: int, runs: Sequence[Fold]) -> SettingResult:
    """Work out the tables of the folds of one setting."""
    scores = [score for run in runs for score in run.scores]
    organs = sorted({score.organ for score in scores})
    having = [{score.row for score in run.scores} for run in runs]
    rows = {row: all(row in own for own in having) for row in dict.fromkeys(c.row for c in scores)}
    scores = [score for score in scores if rows[score.row]]
    means = [
        row_mean([score for score in scores if score.row == row])[0] for row in rows if rows[row]
    ]
    told = f"mean {figures.over(means, figures.OVER_PATIENTS)}"
    head = ["Dice", *organs, told, *(column.head(()) for column in BESIDE_DICE)]
    tables = [[head, *(line(row, scores, organs) for row, kept in rows.items() if kept)]]
    tables += [by_fold(row, runs, organs) for row in (METHOD, METHOD + alpnet.KNOWN)]
    what = f"setting {setting}, {len({run.fold for run in runs})} folds, {len(runs)} runs"
    left_out = [f"left out: {row} (not in every report)" for row, kept in rows.items() if not kept]
    return SettingResult(setting, what, tables, scores, left_out)


def asked(outcome: Outcome) -> str:
    """Say by which protocol a run was asked, and on what it stands."""
    leaks = outcome.leaks and f"LEAKS {', '.join(outcome.leaks)}"
    asked = f"{outcome.protocol}: {outcome.tables[0].told.asked}"
    told = "; ".join(filter(None, [asked, outcome.stands_on, leaks]))
    return f"{outcome.folder}: {told}"


def write_page(folder: Path, parts: Sequence[SettingResult], outcomes: Sequence[Outcome]) -> None:
    """Write the tables as `report.html`, with a box for every organ and row, and as `report.md`."""
    sections = {}
    for part in parts:
        boxes = folder / f"boxes_setting{part.setting}.png"
        draw_boxes(boxes, part.scores)
        sections[part.head.capitalize()] = [
            *(html.html_table(cells[0], cells[1:]) for cells in part.tables),
            *map(html.note, part.left_out),
            html.picture(boxes, BOXES),
        ]
    sections["What was asked"] = [html.list_items([asked(outcome) for outcome in outcomes])]
    sections["Configuration"] = [configured(outcome.folder) for outcome in outcomes]
    title = f"{outcomes[0].algorithm}: the folds of a protocol"
    lead = (
        "A row's mean is over the scans of an organ, then over organs; folds differ, so each is "
        "shown."
    )
    tables = [
        text
        for part in parts
        for text in (
            f"## {part.head.capitalize()}",
            *map(as_markdown, part.tables),
            *part.left_out,
        )
    ]
    notes = "\n".join(f"- {asked(outcome)}" for outcome in outcomes)
    text = html.page(title, lead, {}, sections)
    write_pages(folder, text, [f"# {title}", *tables, notes])


def opened(outcome: Outcome) -> Fold:
    """Read which fold and setting a tested run was of."""
    config, _ = config_file.read_run(outcome.folder)
    if outcome.protocol != alpnet.PROTOCOL.name or config.protocol == "few-shot":
        raise BadInput(f"{outcome.folder} was not tested by a protocol: compare it with its like")
    return Fold(config.setting, config.fold, outcome.tables[0].scores, outcome)


def refuse_mixed(outcomes: Sequence[Outcome]) -> None:
    """Refuse runs that no paper would put into one row."""
    for what in ("algorithm", "conditions", "measuring"):
        values = {getattr(outcome, what) for outcome in outcomes}
        if len(values) > 1:
            raise BadInput(f"folds of one table need the same {what}, these have {values}")
    methods = names([o.algorithm for o in outcomes], [method_of(o) for o in outcomes])
    if len(set(methods)) > 1:
        raise BadInput(f"folds of one table need the same settings, these have {set(methods)}")
    named = {config_file.read_run(outcome.folder)[0].protocol for outcome in outcomes}
    if len(named) > 1:
        raise BadInput(f"folds of one table need the same protocol, these have {named}")


def method_of(outcome: Outcome) -> dict[str, Any]:
    """Give the settings of a run that the folds of a table share."""
    return {name: value for name, value in outcome.recipe.items() if not name.endswith("setting")}


def refuse_same_fold(runs: Sequence[Fold]) -> None:
    """Refuse two runs of one fold and organ."""
    seen = {}
    for run in runs:
        for organ in sorted({score.organ for score in run.scores}):
            before = seen.setdefault((run.fold, organ), run.outcome.folder)
            if before != run.outcome.folder:
                raise BadInput(
                    f"{organ} of fold {run.fold} is tested in {before} and in "
                    f"{run.outcome.folder}: name one"
                )


def line(row: str, scores: Sequence[Score], organs: Sequence[str]) -> list[str]:
    """Write a row: each organ's mean over scans, and the mean over organs."""
    own = [score for score in scores if score.row == row]
    dice, counts = row_mean(own)
    found = TableRow(row, dice, row_mean(own, "iou")[0], counts, others=other_means(own))
    return [
        row,
        *(
            number(mean_of_cases([score for score in own if score.organ == organ]))
            for organ in organs
        ),
        figures.with_interval(dice),
        *(column.cell(found, (found,)) for column in BESIDE_DICE),
    ]


def by_fold(row: str, runs: Sequence[Fold], organs: Sequence[str]) -> list[list[str]]:
    """Write each fold's own values of a row."""
    lines = [[f"{row}, by fold", *organs, "mean"]]
    for fold in sorted({run.fold for run in runs}):
        scores = [c for run in runs if run.fold == fold for c in run.scores if c.row == row]
        means = [
            mean_of_cases([score for score in scores if score.organ == organ]) for organ in organs
        ]
        lines.append([str(fold), *map(number, means), number(float(np.nanmean(means)))])
    return lines


def mean_of_cases(scores: Sequence[Score]) -> float:
    """Average the Dice of cases; NaN where there is none."""
    values = [score.dice for score in scores if score.dice == score.dice]
    return float(np.mean(values)) if values else float("nan")
