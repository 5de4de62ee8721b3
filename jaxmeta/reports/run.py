"""The report of a test, written beside its run and read back."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jaxmeta.errors import BadInput
from jaxmeta.evaluation.baselines import BOUND, FULL, RANDOM
from jaxmeta.evaluation.comparison import margin, other_means, pair_of, row_mean
from jaxmeta.evaluation.finetune import Finetune
from jaxmeta.evaluation.outcome import (
    METHOD,
    Measuring,
    Outcome,
    Step,
    Table,
    from_steps,
    labelled,
    parted,
    to_steps,
    told,
)
from jaxmeta.evaluation.protocols.alpnet_scores import KNOWN
from jaxmeta.evaluation.protocols.within_volume_scores import RELEASED
from jaxmeta.evaluation.segmenter import Case
from jaxmeta.evaluation.settings import Protocol, Setting, describe
from jaxmeta.files import write_json
from jaxmeta.metrics import Counts
from jaxmeta.reports import figures, pages
from jaxmeta.reports.curves import after_steps, joined
from jaxmeta.reports.curves import tables as step_tables
from jaxmeta.reports.figures import Line, Picture
from jaxmeta.reports.pages import Block
from jaxmeta.splits.split import split_from_json
from jaxmeta.training import metrics_log

ORACLE = "an oracle names the slices between which each query's organ lies, and cuts its chunks"
SHOWN = 3  # cases of an organ: the worst, the median and the best
SUFFIXES = {
    KNOWN: ORACLE,
    RELEASED: "slices at the network's size, counted as told above (the mean of volumes, there of "
    "chunks)",
}
NOTES = {
    "no adaptation": "the method before any step on the support",
    "nearest support mask": "the support slice's mask at the nearest relative height, none far "
    "from all of them",
    RANDOM: "the method's rule from adapters, sampler and decoder drawn at random, on the same "
    "encoder",
    BOUND: "the same network, trained on all labels of everybody not tested by it: an upper bound",
    FULL: "the method's network, likewise trained on all these labels",
}


def write(folder: Path, outcomes: Sequence[Outcome]) -> str:
    """Write the report of one run, or of several together; return its tables as text."""
    shots = [table.shots for table in outcomes[0].tables]
    texts, tables, blocks = [], [], []
    for number, each in enumerate(shots):
        parts = [outcome.tables[number] for outcome in outcomes]
        cases = [case for part in parts for case in part.cases]
        lines = lines_of(cases, [part.settings for part in parts])
        title = protocol(outcomes, cases, each)
        seconds = float(np.median([part.seconds for part in parts]))
        texts.append(figures.table(title, lines, f"difference ({METHOD} - row)"))
        organs = by_organ(cases, [line.row for line in lines])
        literature = outcomes[0].literature
        asked = "a slice a chunk" if literature else labelled(each)
        texts.append(figures.grid(f"Dice by organ, {asked}", organs))
        machines = " | ".join(dict.fromkeys(outcome.devices for outcome in outcomes))
        took = f"one adaptation takes {seconds:.2f} s on one of {machines}"
        texts.append(took)
        steps = after_steps(joined([part.by_steps for part in parts]), METHOD)
        texts += ["\n".join(figures.columns(cells)) for cells in step_tables(steps)]
        blocks.append(Block(each, asked, title, lines, organs, took, cases, steps))
        tables.append(
            {
                "shots": each,
                "protocol": title,
                "lines": lines,
                "organs": organs,
                "settings": [part.settings for part in parts],
                "adaptation_seconds": [part.seconds for part in parts],
                "by_steps": steps.means,
            }
        )
        chosen = [shown for part in parts for shown in worst_to_best(part.pictures)]
        if chosen:
            figures.overlay(folder / f"overlay_{each}shot.png", chosen, columns=SHOWN)
    texts += [alive(outcome.heads) for outcome in outcomes if outcome.heads]
    everything = [case for o in outcomes for table in o.tables for case in table.cases]
    figures.write_cases(folder / "cases.csv", everything)
    walked = [line for o in outcomes for table in o.tables for line in to_steps(table.by_steps)]
    if walked:
        figures.write_cases(folder / "steps.csv", walked)
    runs = [o._replace(tables=()) for o in outcomes]
    write_json(folder / "summary.json", {"runs": runs, "jax": jax.__version__, "tables": tables})
    if len(outcomes) == 1:
        draw_curves(folder / "curves.png", outcomes[0].folder / "metrics.jsonl")
    pages.write(folder, outcomes, blocks)
    texts.append(f"report: {folder}")
    return "\n\n".join(texts)


def read(folder: Path, report_of: str = "report") -> Outcome:
    """Read what the test of a run found back from its report, but for the pictures."""
    path = folder / report_of / "summary.json"
    if not path.exists():
        raise BadInput(f"{folder} has no report: python -m experiments.meta_test --run {folder}")
    try:
        values = json.loads(path.read_text("utf-8"))
        (run,) = values["runs"]
        cases = figures.read_cases(path.with_name("cases.csv"), Case)
        cases = [case._replace(run=str(folder)) for case in cases]
        steps = []
        if any(table["by_steps"] for table in values["tables"]):
            steps = figures.read_cases(path.with_name("steps.csv"), Step)
        steps = [step._replace(run=str(folder)) for step in steps]
        tables = tuple(
            Table(
                shots=table["shots"],
                cases=[case for case in cases if case.shots == table["shots"]],
                pictures=[],
                settings={row: setting_from_json(of) for row, of in table["settings"][0].items()},
                seconds=table["adaptation_seconds"][0],
                by_steps=from_steps(step for step in steps if step.shots == table["shots"]),
            )
            for table in values["tables"]
        )
        known = {"folder": folder, "split": split_from_json(run["split"]), "tables": tables}
        known |= {"protocol": Protocol(**run["protocol"]), "leaks": tuple(run["leaks"])}
        return Outcome(**run | known | {"measuring": Measuring(**run["measuring"])})
    except (AttributeError, KeyError, TypeError, ValueError, FileNotFoundError):
        raise BadInput(
            f"{path.parent}: not the report of this version; test the run again"
        ) from None


def setting_from_json(values: dict) -> Setting:
    """Read a row's setting back."""
    return Setting(Finetune(**values["finetune"]), values["source"], tuple(values["edges"]))


def lines_of(cases: Sequence[Case], settings: Sequence[dict[str, Setting]]) -> list[Line]:
    """Make the table's lines, in the order in which rows were scored; `settings` of each run."""
    rows = {}
    for case in cases:
        rows.setdefault(case.row, []).append(case)
    lines = []
    for row, own in rows.items():
        (dice, counts), (iou, _) = row_mean(own), row_mean(own, "iou")
        name, known = parted(row)
        compared = name not in (METHOD, BOUND, FULL)
        behind, over_runs = margin(rows[METHOD + known], own) if compared else (None, None)
        used = dict.fromkeys(describe(of_run[row]) for of_run in settings if row in of_run)
        note = "; ".join(filter(None, [NOTES.get(row), " | ".join(used)]))
        note = SUFFIXES[known] if name == METHOD and known else note
        lines.append(Line(row, dice, iou, counts, behind, over_runs, note, other_means(own)))
    return lines


def alive(heads: dict[str, float]) -> str:
    """Say whether every head of the transfer run learned its organ."""
    dead = [name for name, dice in heads.items() if dice < 0.1]
    text = f"transfer: {len(heads)} pre-training heads, Dice {figures.number(min(heads.values()))}"
    text += f" to {figures.number(max(heads.values()))}"
    return text + (f"; DEAD, so the baseline is too weak: {', '.join(dead)}" if dead else "")


def protocol(outcomes: Sequence[Outcome], cases: Sequence[Case], shots: int) -> str:
    """Say in a sentence how the numbers came about."""
    first = outcomes[0]
    shared = sorted({leak for outcome in outcomes for leak in outcome.leaks})
    leaks = f"; LEAKS {', '.join(whose(leak, outcomes) for leak in shared)}" if shared else ""
    runs = ", ".join(f"{o.folder} (step {o.step})" for o in outcomes)
    grounds = [f"{o.algorithm}: {o.stands_on}" for o in outcomes if o.stands_on]
    runs = "; ".join([runs, *dict.fromkeys(grounds)])
    if first.literature:
        told_by = " | ".join(dict.fromkeys(outcome.literature for outcome in outcomes))
        return f"{told_by}; 3-D, original resolution; {told(first.measuring)}; {runs}{leaks}"
    apart = len({frozenset(tested(outcome)) for outcome in outcomes}) > 1
    seen = set(shared) & {"organs", "patients", "contents"}
    never = "" if "organs" in seen else f"never trained on{' it' * apart}"
    organs = "organs, each asked of runs that " if apart and never else "organs "
    organs = f"{organs}{never}".strip() + f": {', '.join(sorted({case.organ for case in cases}))}"
    if first.within:
        return (
            f"[{digest(outcomes, cases, shots)}] {within(outcomes)}; {organs}; 3-D, original "
            f"resolution, without distances; {runs}{leaks}"
        )
    patients = {(case.cohort, case.patient) for case in cases}
    support_patients = f"{first.protocol.patients} patient{'s' * (first.protocol.patients != 1)}"
    never = "" if seen else f" never seen{' by these' * apart}"
    asked = f"{len(patients)} patients{never}; whole volumes, 3-D, original resolution"
    if "shared-patients" in shared:
        support_patients = "the tested patients"
        asked = (
            f"other slices of the same {len(patients)} patients, one by one, original resolution"
        )
    kept = (
        ", the largest connected component of each mask" if first.protocol.largest_component else ""
    )
    return (
        f"[{digest(outcomes, cases, shots)}] {labelled(shots)} of {support_patients} as support, "
        f"{first.support_sets} supports an organ; {organs}; {asked}{kept}; "
        f"{told(first.measuring)}; {runs}{leaks}"
    )


def whose(leak: str, outcomes: Sequence[Outcome]) -> str:
    """Name a leak, and of several tests those that have it, unless all do."""
    having = [str(outcome.folder) for outcome in outcomes if leak in outcome.leaks]
    return leak if len(having) == len(outcomes) else f"{leak} ({', '.join(having)})"


def tested(outcome: Outcome) -> set[str]:
    """Collect the organs that a run was tested on."""
    return {case.organ for table in outcome.tables for case in table.cases}


def within(outcomes: Sequence[Outcome]) -> str:
    """Say what was asked within volumes, and what it cost in each test; what they share once."""
    clauses = dict.fromkeys(clause for each in outcomes for clause in each.within.split("; "))
    told = {}
    for clause in clauses:
        head, colon, cost = clause.partition(": ")
        told.setdefault(head + colon, []).append(cost)
    return "; ".join(head + " | ".join(costs) for head, costs in told.items())


def digest(outcomes: Sequence[Outcome], cases: Sequence[Case], shots: int) -> str:
    """Shorten everything that the questions of a table depend on to eight characters.

    Which supports were given, which volumes asked, what is kept of a mask, how it is measured, and
    what training shared with the test; not who answers.
    """
    first, cases = outcomes[0], [c for c in cases if c.row not in (BOUND, FULL)]
    asked = sorted({(*each[1:], case.cohort) for case in cases for each in [pair_of(case)]})
    supports = sorted(
        {(case.organ, case.support_set, case.support_slices, case.cohort) for case in cases}
    )
    leaks = sorted({leak for outcome in outcomes for leak in outcome.leaks})
    told = [shots, first.protocol[:2], first.measuring, leaks, asked, supports]
    told += [within(outcomes)] if first.within else []
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()[:8]


def by_organ(
    cases: Sequence[Case], rows: Sequence[str]
) -> dict[str, dict[str, tuple[float, Counts]]]:
    """Average each row's Dice organ by organ, with what stands behind it."""
    found = {row: {} for row in rows}
    for row, organ in sorted({(case.row, case.organ) for case in cases}):
        dice, counts = row_mean([c for c in cases if (c.row, c.organ) == (row, organ)])
        found[row][organ] = dice.mean, counts
    return found


def worst_to_best(pictures: Sequence[tuple[Case, tuple[Picture, ...]]]) -> list[Picture | None]:
    """Pick the worst, the median and the best case of each organ: a row, and below it their other
    slices.

    Who has only one to show has an empty place below it, so that rows stay rows.
    """
    chosen = []
    for organ in sorted({case.organ for case, _ in pictures}):
        own = [(case.dice, case.case, shown) for case, shown in pictures if case.organ == organ]
        own = sorted((each for each in own if each[0] == each[0]), key=lambda each: each[:2])
        places = sorted({0, len(own) // 2, len(own) - 1}) if own else []
        of_cases = [(*own[place][2], None)[:2] for place in places]
        for row in zip(*of_cases):
            chosen += [*row, *[None] * (SHOWN - len(row))] if any(row) else []
    return chosen


def draw_curves(path: Path, metrics: Path) -> None:
    """Draw how training went, where the run kept its metrics."""
    lines = metrics_log.read_metrics(metrics)
    names = {"loss": "loss", "dice/before": "dice_before", "dice/after": "dice"}
    names |= {
        "validation Dice": "validation_dice",
        "norm of the meta-gradient": "meta_gradient_norm",
    }
    series = {shown: metrics_log.column(lines, name) for shown, name in names.items()}
    series = {shown: points for shown, points in series.items() if points[0]}
    if series:
        figures.curves(path, series)
