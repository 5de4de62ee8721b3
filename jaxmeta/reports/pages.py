"""The report as a page: `report.html` and `report.md`, from what `run.py` worked out."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxmeta.evaluation.baselines import METHOD, WITH_ALL_LABELS
from jaxmeta.evaluation.comparison import TableRow, evaluation_cases
from jaxmeta.evaluation.outcome import Outcome, taught_by_labels
from jaxmeta.evaluation.protocols.alpnet import KNOWN
from jaxmeta.evaluation.scoring import Score
from jaxmeta.files import beside
from jaxmeta.numerics import rank
from jaxmeta.reports import background, columns, curves, figures, html, weights
from jaxmeta.reports.curves import AfterSteps
from jaxmeta.runs.config_file import read_json

MOST_MISSED = 60  # cases that are named one by one
BOXES = "Dice of every case, by organ and by row."
BY_PATIENT = (
    f"Dice of the row {METHOD}, a mean over supports and scans of each patient, the lowest first."
)
PAIRS = (
    "The worst, the median and the best case of each organ, by the slice that shows most of it; "
    "below, where it is another, the one with most voxels falsely marked, or missed where none is. "
    "Truth green, prediction red."
)


class ShotsBlock(NamedTuple):
    """What the report says of one number of shots."""

    shots: int
    asked: str  # "5 slices", "a slice a chunk"
    protocol: str
    lines: list[TableRow]
    organs: dict
    seconds: str
    scores: list[Score]
    steps: AfterSteps


def write(
    folder: Path,
    outcomes: Sequence[Outcome],
    blocks: Sequence[ShotsBlock],
    more: Sequence[Sequence[Sequence[str]]] = (),
) -> None:
    """Write both pages beside the pictures, which the first holds in itself; `more` are the cells
    of tables that tell about the training."""
    sections = {}
    for block in blocks:
        draw_boxes(boxes_of(folder, block.shots), block.scores)
        sections |= block_sections(folder, block)
    sections |= over_shots(folder, {block.shots: block.lines for block in blocks})
    sections["Training"] = [html.paragraph(background.training(each)) for each in outcomes]
    if (folder / "curves.png").exists():
        sections["Training"] += [html.picture(folder / "curves.png", "What the run logged.")]
    if (folder / "weights.png").exists():
        sections["Training"] += [html.picture(folder / "weights.png", weights.CAPTION)]
    sections["Training"] += [html.html_table(head, rows) for head, *rows in more]
    sections["Missed cases"] = missed(blocks)
    sections["Configuration"] = [configured(outcome.folder) for outcome in outcomes]
    title = " and ".join(dict.fromkeys(outcome.algorithm for outcome in outcomes))
    organs = sorted({score.organ for block in blocks for score in block.scores})
    by_labels = taught_by_labels(outcomes)
    lead = (
        f"What the method, trained on labels of a few patients, makes of {', '.join(organs)} in "
        "patients whom it never saw."
        if by_labels
        else f"What the method, adapted to a few labelled slices, makes of {', '.join(organs)}: "
        "organs that the tested run never trained on, in patients whom it never saw."
    )
    held_out = "patients" if by_labels else "organs"
    text = html.page(f"{title}: held-out {held_out}", lead, facts(outcomes, blocks), sections)
    write_pages(folder, text, markdown(outcomes, blocks, more))


def write_pages(folder: Path, html: str, markdown: Sequence[str]) -> None:
    """Write a page as one file to look at, and its parts in Markdown."""
    parts = "\n\n".join(filter(None, markdown)) + "\n"
    for name, content in {"report.html": html, "report.md": parts}.items():
        with beside(folder / name) as part:
            part.write_text(content, "utf-8", "backslashreplace")


def facts(outcomes: Sequence[Outcome], blocks: Sequence[ShotsBlock]) -> dict[str, str]:
    """Say what was tested."""
    scores = [score for block in blocks for score in block.scores if score.row == METHOD]
    patients = {(score.cohort, score.patient) for score in scores}
    told = {
        "tested on": background.data_sets(scores),
        "date": background.today(),
        "runs": ", ".join(f"{o.folder} (seed {o.seed}, step {o.step})" for o in outcomes),
        "cases": f"{len(evaluation_cases(scores))} of {len(patients)} patients, asked of every row",
    }
    for block in blocks:
        told[block.asked] = block.seconds
    return told


def block_sections(folder: Path, block: ShotsBlock) -> dict[str, list[str]]:
    """Write the sections of one number of shots."""
    lines = [line for line in block.lines if line.row not in WITH_ALL_LABELS]
    fair = [line for line in lines if not line.row.endswith(KNOWN)]
    best = max(fair, key=lambda line: rank(line.dice.mean), default=None)
    head, *rows = columns.cells(block.lines, f"difference ({METHOD} - row)")
    organs, *means = figures.organ_cells("Dice by organ", block.organs)
    notes = [f"{line.row}: {line.note}" for line in block.lines if line.note]
    patients, *scores = background.by_patient(block.scores)
    first = [
        html.note(block.protocol),
        html.html_table(head, rows, best=best.row if best else None),
        html.folded("what the rows are", "\n".join(notes)),
        html.html_table(organs, means),
        html.on_demand(patients[0], [html.html_table(patients, scores), html.note(BY_PATIENT)]),
        html.picture(boxes_of(folder, block.shots), BOXES),
    ]
    overlay = folder / f"overlay_{block.shots}shot.png"
    if overlay.exists():
        first.append(html.picture(overlay, PAIRS))
    first += walked(folder, block.shots, block.steps)
    return {f"Support: {block.asked}": first}


def walked(folder: Path, shots: int, steps: AfterSteps) -> list[str]:
    """Show Dice after so many steps, where that was asked: tables, and a line a row."""
    caption = "Dice against steps of each method's own rule, a line a row."
    shown = [html.html_table(head, rows) for head, *rows in curves.tables(steps)]
    return shown + [html.picture(path, caption) for path in curves.draw(folder, shots, steps)]


def boxes_of(folder: Path, shots: int) -> Path:
    """Name the picture of all cases of one number of shots."""
    return folder / f"boxes_{shots}shot.png"


def draw_boxes(path: Path, scores: Sequence[Score]) -> None:
    """Draw the Dice of all cases, a box a row for each organ."""
    values = {}
    for score in scores:
        values.setdefault(score.organ, {}).setdefault(score.row, []).append(score.dice)
    figures.boxes(path, dict(sorted(values.items())), "Dice")


def over_shots(folder: Path, lines: Mapping[int, Sequence[TableRow]]) -> dict[str, list[str]]:
    """Draw Dice against the number of slices, and show it, where there are several."""
    if len(lines) < 2:
        return {}
    means = [{line.row: line.dice.mean for line in own} for _, own in sorted(lines.items())]
    series = {
        f"Dice/{row}": (sorted(lines), [own[row] for own in means])
        for row in means[0]
        if all(row in own for own in means)
    }
    path = folder / "shots.png"
    figures.curves(path, series, along="labelled slices", marker="o")
    caption = "Dice against the number of labelled slices, a line a row of the tables."
    return {"More slices": [html.picture(path, caption)]}


def missed(blocks: Sequence[ShotsBlock]) -> list[str]:
    """Name the cases in which the method found nothing at all."""
    names = [
        f"{score.organ} of {score.case}, {block.asked}, support {score.support_slices}"
        for block in blocks
        for score in block.scores
        if score.row == METHOD and score.outcome == "missed"
    ]
    if not names:
        return [html.paragraph("The method missed none.")]
    more = (
        [f"and {len(names) - MOST_MISSED} more, in scores.csv"] if len(names) > MOST_MISSED else []
    )
    return [html.list_items(names[:MOST_MISSED] + more)]


def configured(folder: Path, whose: str = "") -> str:
    """Show a run's configuration."""
    path = folder / "config.json"
    text = json.dumps(read_json(path), indent=1) if path.exists() else "not there any more"
    return html.folded(f"{whose}{folder}", text)


def markdown(
    outcomes: Sequence[Outcome],
    blocks: Sequence[ShotsBlock],
    more: Sequence[Sequence[Sequence[str]]] = (),
) -> list[str]:
    """Write the tables for a notebook or a repository."""
    parts = [f"# {' and '.join(dict.fromkeys(o.algorithm for o in outcomes))}: held-out organs"]
    parts += [f"{name}: {text}" for name, text in facts(outcomes, blocks).items()]
    parts += [background.training(outcome) for outcome in outcomes]
    parts += map(as_markdown, more)
    for block in blocks:
        notes = [f"- {line.row}: {line.note}" for line in block.lines if line.note]
        parts += [
            f"## Support: {block.asked}",
            block.protocol,
            as_markdown(columns.cells(block.lines, f"difference ({METHOD} - row)")),
            "\n".join(notes),
            as_markdown(figures.organ_cells("Dice by organ", block.organs)),
            as_markdown(background.by_patient(block.scores)),
            *map(as_markdown, curves.tables(block.steps)),
            block.seconds,
        ]
    return parts


def as_markdown(cells: Sequence[Sequence[str]]) -> str:
    """Lay cells out as a table of Markdown."""
    head, *rows = cells
    lines = [head, ["---"] * len(head), *rows]
    lines = [[cell.replace("|", r"\|") for cell in line] for line in lines]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
