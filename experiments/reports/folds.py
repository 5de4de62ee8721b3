"""The folds of a protocol together: what a paper's table has, and the fold-level values behind it.

    python -m experiments.summary --run FOLD0 FOLD1 ...     runs that were trained and tested by a protocol

Each run answers for one fold and one group of organs. A row's mean is over the scans of an organ, then
over organs; a scan counts as often as the protocol's folds ask of it (once, but in what descendants of
ALPNet made of it). Folds differ by far more than methods do, so every fold's own value is shown.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from experiments.runs import saved
from experiments.runs.recipes import names
from experiments.testing.outcome import METHOD, Outcome
from jaxmeta import report
from jaxmeta.chunks import KNOWN
from jaxmeta.compare import other_means, row_mean, trusted
from jaxmeta.errors import BadInput
from jaxmeta.evaluate import Case
from jaxmeta.files import write_json
from jaxmeta.report import number


class Fold(NamedTuple):
    """A run of a protocol, and its cases."""

    setting: int
    fold: int
    cases: list[Case]
    outcome: Outcome


def write(folder: Path, outcomes: Sequence[Outcome]) -> str:
    """Write the tables of every setting; return them as text.

    Raises BadInput where runs of several protocols, algorithms or settings are mixed, or a scan is
    asked twice.
    """
    runs = [opened(outcome) for outcome in outcomes]
    refuse_mixed(outcomes)
    texts, tables, cases = [], [], []
    for setting in sorted({run.setting for run in runs}):
        own = [run for run in runs if run.setting == setting]
        found = [case for run in own for case in run.cases]
        refuse_twice(own)
        cases += found
        organs = sorted({case.organ for case in found})
        rows = list(dict.fromkeys(case.row for case in found))
        head = f"setting {setting}, {len({run.fold for run in own})} folds, {len(own)} runs"
        lines = [
            ["Dice", *organs, "mean [95 %, patients]", "IoU", "HD95", "NSD", "cases", "missed"]
        ]
        lines += [line(row, found, organs) for row in rows]
        texts.append("\n".join([head, *report.columns(lines)]))
        for row in (METHOD, METHOD + KNOWN):
            texts.append("\n".join(report.columns(by_fold(row, own, organs))))
        tables.append({"setting": setting, "lines": lines, "folds": by_fold(METHOD, own, organs)})
    for outcome in (run.outcome for run in runs):
        told = "; ".join(filter(None, [outcome.literature, outcome.stands_on]))
        texts.append(f"{outcome.folder}: {told}")
    report.write_cases(folder / "cases.csv", cases)
    told = [outcome._replace(tables=()) for outcome in outcomes]
    write_json(folder / "summary.json", {"runs": told, "jax": jax.__version__, "tables": tables})
    return "\n\n".join([*texts, f"report: {folder}"])


def opened(outcome: Outcome) -> Fold:
    """Read which fold and setting a tested run was of."""
    config, _ = saved.read(outcome.folder)
    if not outcome.literature or config.protocol is None:
        raise BadInput(f"{outcome.folder} was not tested by a protocol: compare it with its like")
    return Fold(config.setting, config.fold, outcome.tables[0].cases, outcome)


def refuse_mixed(outcomes: Sequence[Outcome]) -> None:
    """Refuse runs that no paper would put into one row."""
    for what in ("algorithm", "protocol", "measuring", "leaks"):
        values = {getattr(outcome, what) for outcome in outcomes}
        if len(values) > 1:
            raise BadInput(f"folds of one table need the same {what}, these have {values}")
    methods = names([o.algorithm for o in outcomes], [method_of(o) for o in outcomes])
    if len(set(methods)) > 1:
        raise BadInput(f"folds of one table need the same settings, these have {set(methods)}")
    named = {saved.read(outcome.folder)[0].protocol for outcome in outcomes}
    if len(named) > 1:
        raise BadInput(f"folds of one table need the same protocol, these have {named}")


def method_of(outcome: Outcome) -> dict[str, Any]:
    """Give the settings of a run that the folds of a table share."""
    return {name: value for name, value in outcome.recipe.items() if not name.endswith("setting")}


def refuse_twice(runs: Sequence[Fold]) -> None:
    """Refuse two runs of one fold and organ."""
    seen = {}
    for run in runs:
        for organ in sorted({case.organ for case in run.cases}):
            before = seen.setdefault((run.fold, organ), run.outcome.folder)
            if before != run.outcome.folder:
                raise BadInput(
                    f"{organ} of fold {run.fold} is tested in {before} and in {run.outcome.folder}: "
                    "name one"
                )


def line(row: str, cases: Sequence[Case], organs: Sequence[str]) -> list[str]:
    """Write a row: each organ's mean over scans, and the mean over organs."""
    own = [case for case in cases if case.row == row]
    dice, counts = row_mean(own)
    return [
        row,
        *(number(mean([case for case in own if case.organ == organ])) for organ in organs),
        report.between(trusted(dice, own)),
        number(row_mean(own, "iou")[0].mean),
        *report.distances(other_means(own)),
        str(counts.cases),
        str(counts.missed),
    ]


def by_fold(row: str, runs: Sequence[Fold], organs: Sequence[str]) -> list[list[str]]:
    """Write each fold's own values of a row."""
    lines = [[f"{row}, by fold", *organs, "mean"]]
    for fold in sorted({run.fold for run in runs}):
        cases = [c for run in runs if run.fold == fold for c in run.cases if c.row == row]
        means = [mean([case for case in cases if case.organ == organ]) for organ in organs]
        lines.append([str(fold), *map(number, means), number(float(np.nanmean(means)))])
    return lines


def mean(cases: Sequence[Case]) -> float:
    """Average the Dice of cases; NaN where there is none."""
    values = [case.dice for case in cases if case.dice == case.dice]
    return float(np.mean(values)) if values else float("nan")
