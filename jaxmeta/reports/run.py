"""The report of a test, written beside its run and read back."""

import hashlib
import json
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

import numpy as np

from jaxmeta.data.names import amount
from jaxmeta.errors import BadInput
from jaxmeta.evaluation import best_on_test
from jaxmeta.evaluation.baselines import METHOD, NOTES, WITH_ALL_LABELS
from jaxmeta.evaluation.comparison import TableRow, case_of, margin, other_means, row_mean
from jaxmeta.evaluation.finetune import Finetune, Tuned
from jaxmeta.evaluation.outcome import (
    Measuring,
    Outcome,
    Step,
    Table,
    from_steps,
    labelled_text,
    parted,
    taught_by_labels,
    to_steps,
)
from jaxmeta.evaluation.protocol import Conditions, Description
from jaxmeta.evaluation.protocols import PROTOCOLS, SUFFIXES, alpnet
from jaxmeta.evaluation.scoring import Score
from jaxmeta.evaluation.settings import describe_tuning
from jaxmeta.files import write_json
from jaxmeta.metrics import Counts
from jaxmeta.reports import columns, figures, pages, weights
from jaxmeta.reports.curves import after_steps, joined_curves
from jaxmeta.reports.curves import tables as step_tables
from jaxmeta.reports.figures import Picture
from jaxmeta.reports.pages import ShotsBlock
from jaxmeta.splits.split import split_from_json
from jaxmeta.training import metrics_log

CASES_SHOWN = 3  # cases of an organ: the worst, the median and the best


def write(folder: Path, outcomes: Sequence[Outcome]) -> str:
    """Write the report of one run, or of several together; return its tables as text."""
    shots = [table.shots for table in outcomes[0].tables]
    texts, tables, blocks = [], [], []
    for number, each in enumerate(shots):
        parts = [outcome.tables[number] for outcome in outcomes]
        scores = [score for part in parts for score in part.scores]
        lines = lines_of(scores, [part.settings for part in parts])
        title = protocol(outcomes, scores, each)
        seconds = float(np.median([part.seconds for part in parts]))
        texts.append(columns.table(title, lines, f"difference ({METHOD} - row)"))
        organs = by_organ(scores, [line.row for line in lines])
        asked = (
            "a slice a chunk"
            if outcomes[0].protocol == alpnet.PROTOCOL.name
            else labelled_text(each)
        )
        texts.append(figures.grid(f"Dice by organ, {asked}", organs))
        machines = " | ".join(dict.fromkeys(outcome.devices for outcome in outcomes))
        adapts = not taught_by_labels(outcomes)
        took = f"one adaptation takes {seconds:.2f} s on one of {machines}" * adapts
        texts += [took] * adapts
        steps = after_steps(joined_curves([part.by_steps for part in parts]), METHOD)
        texts += ["\n".join(figures.columns(cells)) for cells in step_tables(steps)]
        blocks.append(ShotsBlock(each, asked, title, lines, organs, took, scores, steps))
        tables.append(
            {
                "shots": each,
                "protocol": title,
                "lines": lines,
                "organs": organs,
                "told": [part.told for part in parts],
                "settings": [part.settings for part in parts],
                "adaptation_seconds": [part.seconds for part in parts],
                "by_steps": steps.means,
            }
        )
        chosen = [shown for part in parts for shown in worst_to_best(part.pictures)]
        if chosen:
            figures.overlay(folder / f"overlay_{each}shot.png", chosen, columns=CASES_SHOWN)
    texts += [alive(outcome.heads) for outcome in outcomes if outcome.heads]
    everything = [score for o in outcomes for table in o.tables for score in table.scores]
    figures.write_scores(folder / "scores.csv", everything)
    walked = [line for o in outcomes for table in o.tables for line in to_steps(table.by_steps)]
    if walked:
        figures.write_scores(folder / "steps.csv", walked)
    runs = [o._replace(tables=()) for o in outcomes]
    write_json(folder / "summary.json", {"runs": runs, "jax": version("jax"), "tables": tables})
    more = []
    if len(outcomes) == 1:
        draw_curves(folder / "curves.png", outcomes[0].folder / "metrics.jsonl")
        kept = weights.kept_of(outcomes[0].folder)
        truth = weights.truths(outcomes[0].folder, kept)
        weights.draw(folder / "weights.png", kept, truth)
        more = [best_on_test.cells(outcomes[0].folder), weights.quality(kept, truth)]
        more = [cells for cells in more if cells]
    texts += ["\n".join(figures.columns(cells)) for cells in more]
    pages.write(folder, outcomes, blocks, more)
    texts.append(f"report: {folder}")
    return "\n\n".join(texts)


def read_report(folder: Path, report_of: str = "report") -> Outcome:
    """Read what the test of a run found back from its report, but for the pictures."""
    path = folder / report_of / "summary.json"
    if not path.exists():
        raise BadInput(f"{folder} has no report: `jaxmeta test` `run={folder}`{others(folder)}")
    try:
        values = json.loads(path.read_text("utf-8"))
        (run,) = values["runs"]
        scores = figures.read_scores(path.with_name("scores.csv"), Score)
        scores = [score._replace(run=str(folder)) for score in scores]
        steps = []
        if any(table["by_steps"] for table in values["tables"]):
            steps = figures.read_scores(path.with_name("steps.csv"), Step)
        steps = [step._replace(run=str(folder)) for step in steps]
        tables = tuple(
            Table(
                shots=table["shots"],
                scores=[score for score in scores if score.shots == table["shots"]],
                pictures=[],
                settings={row: tuned_from_json(of) for row, of in table["settings"][0].items()},
                seconds=table["adaptation_seconds"][0],
                by_steps=from_steps(step for step in steps if step.shots == table["shots"]),
                told=Description(**table["told"][0]),
            )
            for table in values["tables"]
        )
        known = {"folder": folder, "split": split_from_json(run["split"]), "tables": tables}
        known |= {"conditions": Conditions(**run["conditions"]), "leaks": tuple(run["leaks"])}
        return Outcome(**run | known | {"measuring": Measuring(**run["measuring"])})
    except (AttributeError, KeyError, TypeError, ValueError, FileNotFoundError):
        raise BadInput(
            f"{path.parent}: not the report of this version; test the run again"
        ) from None


def others(folder: Path) -> str:
    """Name the protocols of which a run has a report."""
    names = {each.folder: name for name, each in PROTOCOLS.items()}
    there = sorted(path.parent.name for path in folder.glob("*/summary.json"))
    told = [f"`protocol={names[name]}`" for name in there if name in names]
    return f"; there is that of {' and '.join(told)}" if told else ""


def tuned_from_json(values: dict) -> Tuned:
    """Read how a row was tuned back."""
    return Tuned(Finetune(**values["finetune"]), values["source"], tuple(values["edges"]))


def lines_of(scores: Sequence[Score], settings: Sequence[dict[str, Tuned]]) -> list[TableRow]:
    """Make the table's lines, in the order in which rows were scored; `settings` of each run."""
    rows = {}
    for score in scores:
        rows.setdefault(score.row, []).append(score)
    lines = []
    for row, own in rows.items():
        (dice, counts), (iou, _) = row_mean(own), row_mean(own, "iou")
        name, known = parted(row)
        compared = name not in (METHOD, *WITH_ALL_LABELS)
        behind = margin(rows[METHOD + known], own) if compared else None
        used = dict.fromkeys(describe_tuning(of_run[row]) for of_run in settings if row in of_run)
        note = "; ".join(filter(None, [NOTES.get(row), " | ".join(used)]))
        note = SUFFIXES[known] if name == METHOD and known else note
        others = other_means(own)
        lines.append(TableRow(row, dice, iou, counts, None, behind, others, note=note))
    return lines


def alive(heads: dict[str, float]) -> str:
    """Say whether every head of the transfer run learned its organ."""
    dead = [name for name, dice in heads.items() if dice < 0.1]
    text = f"transfer: {len(heads)} pre-training heads, Dice {figures.number(min(heads.values()))}"
    text += f" to {figures.number(max(heads.values()))}"
    return text + (f"; DEAD, so the baseline is too weak: {', '.join(dead)}" if dead else "")


def protocol(outcomes: Sequence[Outcome], scores: Sequence[Score], shots: int) -> str:
    """Say in a sentence how the numbers came about, the protocol first by its name."""
    first = outcomes[0]
    shared = sorted({leak for outcome in outcomes for leak in outcome.leaks})
    leaks = f"; LEAKS {', '.join(whose(leak, outcomes) for leak in shared)}" if shared else ""
    runs = ", ".join(f"{o.folder} (step {o.step})" for o in outcomes)
    grounds = [f"{o.algorithm}: {o.stands_on}" for o in outcomes if o.stands_on]
    runs = "; ".join([runs, *dict.fromkeys(grounds)])
    apart = len({frozenset(tested(outcome)) for outcome in outcomes}) > 1
    seen = set(shared) & {"organs", "patients", "contents", "shared-patients"}
    never = "" if "organs" in seen else f"never trained on{' it' * apart}"
    if taught_by_labels(outcomes):
        never = (
            "labels of other patients taught" if apart else "that labels of other patients taught"
        )
    organs = "organs, each asked of runs that " if apart and never else "organs "
    organs = f"{organs}{never}".strip()
    organs += f": {', '.join(sorted({score.organ for score in scores}))}"
    patients = amount(len({(score.cohort, score.patient) for score in scores}), "patient")
    never = "" if seen else f" never seen{' by these' * apart}"
    asked, scored = (joined_told(outcomes, shots, part) for part in Description._fields)
    return (
        f"[{digest_of_table(outcomes, scores, shots)}] {first.protocol}: {asked}; {organs}; "
        f"{patients}{never}; {scored}; {runs}{leaks}"
    )


def whose(leak: str, outcomes: Sequence[Outcome]) -> str:
    """Name a leak, and of several tests those that have it, unless all do."""
    having = [str(outcome.folder) for outcome in outcomes if leak in outcome.leaks]
    return leak if len(having) == len(outcomes) else f"{leak} ({', '.join(having)})"


def tested(outcome: Outcome) -> set[str]:
    """Collect the organs that a run was tested on."""
    return {score.organ for table in outcome.tables for score in table.scores}


def joined_told(outcomes: Sequence[Outcome], shots: int, part: str) -> str:
    """Say what was asked, or what counts, in all tests: what they share once, what differs of
    each."""
    tables = [table for each in outcomes for table in each.tables if table.shots == shots]
    clauses = dict.fromkeys(
        clause for table in tables for clause in getattr(table.told, part).split("; ")
    )
    told = {}
    for clause in clauses:
        head, colon, cost = clause.partition(": ")
        told.setdefault(head + colon, []).append(cost)
    return "; ".join(head + " | ".join(costs) for head, costs in told.items())


def digest_of_table(outcomes: Sequence[Outcome], scores: Sequence[Score], shots: int) -> str:
    """Shorten everything that the questions of a table depend on to eight characters.

    Which supports were given, which volumes asked, what is kept of a mask, how it is measured, and
    what training shared with the test; not who answers.
    """
    first, scores = outcomes[0], [c for c in scores if c.row not in WITH_ALL_LABELS]
    asked = sorted({(*each[1:], score.cohort) for score in scores for each in [case_of(score)]})
    supports = sorted(
        {(score.organ, score.support_set, score.support_slices, score.cohort) for score in scores}
    )
    leaks = sorted({leak for outcome in outcomes for leak in outcome.leaks})
    told = [shots, first.conditions[:2], first.measuring, leaks, asked, supports]
    told += [joined_told(outcomes, shots, "asked")] if first.conditions.neighbors else []
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]


def by_organ(
    scores: Sequence[Score], rows: Sequence[str]
) -> dict[str, dict[str, tuple[float, Counts]]]:
    """Average each row's Dice organ by organ, with what stands behind it."""
    found = {row: {} for row in rows}
    for row, organ in sorted({(score.row, score.organ) for score in scores}):
        dice, counts = row_mean([c for c in scores if (c.row, c.organ) == (row, organ)])
        found[row][organ] = dice.mean, counts
    return found


def worst_to_best(pictures: Sequence[tuple[Score, tuple[Picture, ...]]]) -> list[Picture | None]:
    """Pick the worst, the median and the best case of each organ: a row, and below it their other
    slices.

    Who has only one to show has an empty place below it, so that rows stay rows.
    """
    chosen = []
    for organ in sorted({score.organ for score, _ in pictures}):
        own = [(score.dice, score.case, shown) for score, shown in pictures if score.organ == organ]
        own = sorted((each for each in own if each[0] == each[0]), key=lambda each: each[:2])
        places = sorted({0, len(own) // 2, len(own) - 1}) if own else []
        of_cases = [(*own[place][2], None)[:2] for place in places]
        for row in zip(*of_cases):
            chosen += [*row, *[None] * (CASES_SHOWN - len(row))] if any(row) else []
    return chosen


def draw_curves(path: Path, metrics: Path) -> None:
    """Draw how training went, where the run kept its metrics."""
    lines = metrics_log.read_metrics(metrics)
    names = {"loss": "loss", "dice/before": "dice_before", "dice/after": "dice"}
    names |= {
        "validation Dice": "validation_dice",
        "norm of the meta-gradient": "meta_gradient_norm",
        "loss of clean slices": "clean_loss",
        "share of initial labels": "initial_share",
    }
    logged = {name for line in lines for name in line}
    names |= {
        f"weight/{name.removeprefix('weight_')}": name
        for name in sorted(logged)
        if name.startswith("weight_")
    }
    series = {shown: metrics_log.column(lines, name) for shown, name in names.items()}
    series = {shown: points for shown, points in series.items() if points[0]}
    if series:
        figures.curves(path, series)
