"""The report of a comparison as a page: `report.html` and `report.md`, from what `comparison.py`
worked out."""

from collections.abc import Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import NamedTuple

from jaxmeta.evaluation.comparison import TableRow, evaluation_cases
from jaxmeta.evaluation.outcome import labelled_text
from jaxmeta.evaluation.scoring import Score
from jaxmeta.metrics import Counts
from jaxmeta.reports import columns, curves, figures, html
from jaxmeta.reports.curves import AfterSteps
from jaxmeta.reports.pages import (
    BOXES,
    as_markdown,
    boxes_of,
    configured,
    draw_boxes,
    over_shots,
    walked,
    write_pages,
)

TITLE = 80  # letters of a title that names all methods


class Comparison(NamedTuple):
    """What a comparison says of one number of shots."""

    shots: int
    protocol: str
    headline: str
    lines: list[TableRow]  # the methods from best to worst, then their baselines
    compared: str  # what the last columns of the lines hold
    margins: list[list[str]]  # cells: by how much one method is ahead of each other
    left_out: list[str]
    organs: dict[str, dict[str, tuple[float, Counts]]]
    steps: AfterSteps
    seconds: str
    scores: list[Score]

    @property
    def tables(self) -> list[list[list[str]]]:
        """Give the cells of every table, each with its head first."""
        organs = figures.organ_cells(f"Dice by organ, {labelled_text(self.shots)}", self.organs)
        return [columns.cells(self.lines, self.compared, attrgetter("ahead")), self.margins, organs]

    @property
    def notes(self) -> list[str]:
        """Say what the rows are, and why others are not there."""
        told = [f"{line.row}: {line.note}" for line in self.lines if line.note]
        return told + [f"left out: {each}" for each in self.left_out]


def as_text(comparison: Comparison) -> str:
    """Lay a comparison out for the terminal."""
    _, margins, organs = comparison.tables
    head = f"{comparison.protocol}\n{comparison.headline}"
    left_out = [f"left out: {each}" for each in comparison.left_out]
    parts = [
        columns.table(head, comparison.lines, comparison.compared, attrgetter("ahead")),
        "\n".join(figures.columns(margins) + left_out),
        *(
            "\n".join(figures.columns(cells))
            for cells in (organs, *curves.tables(comparison.steps))
        ),
        comparison.seconds,
    ]
    return "\n\n".join(parts)


def write(
    folder: Path,
    comparisons: Sequence[Comparison],
    runs: Mapping[str, Sequence[Path]],
    heads: Sequence[str],
) -> None:
    """Write both pages beside the pictures; `runs` are each method's folders, `heads` what is told
    of transfer's."""
    sections = {}
    for comparison in comparisons:
        draw_boxes(boxes_of(folder, comparison.shots), comparison.scores)
        sections[f"Support: {labelled_text(comparison.shots)}"] = section(folder, comparison)
    sections |= over_shots(
        folder, {comparison.shots: comparison.lines for comparison in comparisons}
    )
    sections["Transfer"] = [html.paragraph(each) for each in heads]
    sections["Configuration"] = [
        configured(own[0], f"{row}, the first of {len(own)} runs: " if own[1:] else f"{row}: ")
        for row, own in runs.items()
    ]
    scores = [
        score for comparison in comparisons for score in comparison.scores if score.row in runs
    ]
    patients = {(score.cohort, score.patient) for score in scores}
    facts = {
        "methods": ", ".join(
            f"{row} ({len(own)} run{'s' * (len(own) > 1)})" for row, own in runs.items()
        ),
        "cases": f"{len(evaluation_cases(scores))} of {len(patients)} patients, asked of every row",
    }
    named = ", ".join(runs)
    title = f"{named if len(named) < TITLE else f'{len(runs)} methods'}: held-out organs"
    lead = "Several methods on identical questions; differences are taken case by case."
    text = html.page(title, lead, facts, sections)
    write_pages(folder, text, [f"# {title}", *map(as_sections, comparisons), *heads])


def section(folder: Path, comparison: Comparison) -> list[str]:
    """Write a comparison as pieces of a page."""
    (head, *rows), *others = comparison.tables
    return [
        html.note(comparison.protocol),
        html.paragraph(comparison.headline),
        html.html_table(head, rows, best=comparison.lines[0].row),
        *(html.html_table(cells[0], cells[1:]) for cells in others),
        html.folded("what the rows are", "\n".join(comparison.notes)),
        html.picture(boxes_of(folder, comparison.shots), BOXES),
        *walked(folder, comparison.shots, comparison.steps),
        html.note(comparison.seconds),
    ]


def as_sections(comparison: Comparison) -> str:
    """Write a comparison in Markdown."""
    notes = "\n".join(f"- {note}" for note in comparison.notes)
    tables = map(as_markdown, [*comparison.tables, *curves.tables(comparison.steps)])
    return "\n\n".join(
        [
            f"## Support: {labelled_text(comparison.shots)}",
            comparison.protocol,
            comparison.headline,
            *tables,
            notes,
            comparison.seconds,
        ]
    )
