"""The report of a contest as a page: `report.html` and `report.md`, from what `comparison.py`
worked out."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxmeta.evaluation.comparison import questions
from jaxmeta.evaluation.outcome import labelled
from jaxmeta.evaluation.segmenter import Case
from jaxmeta.metrics import Counts
from jaxmeta.reports import curves, figures, html
from jaxmeta.reports.curves import AfterSteps
from jaxmeta.reports.figures import Line
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


class Bout(NamedTuple):
    """What a contest says of one number of shots."""

    shots: int
    protocol: str
    headline: str
    lines: list[Line]  # the methods from best to worst, then their baselines
    compared: str  # what the last columns of the lines hold
    margins: list[list[str]]  # cells: by how much one method is ahead of each other
    left_out: list[str]
    organs: dict[str, dict[str, tuple[float, Counts]]]
    steps: AfterSteps
    seconds: str
    cases: list[Case]

    @property
    def tables(self) -> list[list[list[str]]]:
        """Give the cells of every table, each with its head first."""
        organs = figures.organ_cells(f"Dice by organ, {labelled(self.shots)}", self.organs)
        return [figures.cells(self.lines, self.compared), self.margins, organs]

    @property
    def notes(self) -> list[str]:
        """Say what the rows are, and why others are not there."""
        told = [f"{line.row}: {line.note}" for line in self.lines if line.note]
        return told + [f"left out: {each}" for each in self.left_out]


def as_text(bout: Bout) -> str:
    """Lay a bout out for the terminal."""
    _, margins, organs = bout.tables
    head = f"{bout.protocol}\n{bout.headline}"
    left_out = [f"left out: {each}" for each in bout.left_out]
    parts = [
        figures.table(head, bout.lines, bout.compared),
        "\n".join(figures.columns(margins) + left_out),
        *("\n".join(figures.columns(cells)) for cells in (organs, *curves.tables(bout.steps))),
        bout.seconds,
    ]
    return "\n\n".join(parts)


def write(
    folder: Path, bouts: Sequence[Bout], runs: Mapping[str, Sequence[Path]], heads: Sequence[str]
) -> None:
    """Write both pages beside the pictures; `runs` are each method's folders, `heads` what is told
    of transfer's."""
    sections = {}
    for bout in bouts:
        draw_boxes(boxes_of(folder, bout.shots), bout.cases)
        sections[f"Support: {labelled(bout.shots)}"] = section(folder, bout)
    sections |= over_shots(folder, {bout.shots: bout.lines for bout in bouts})
    sections["Transfer"] = [html.paragraph(each) for each in heads]
    sections["Configuration"] = [
        configured(own[0], f"{row}, the first of {len(own)} runs: " if own[1:] else f"{row}: ")
        for row, own in runs.items()
    ]
    cases = [case for bout in bouts for case in bout.cases if case.row in runs]
    patients = {(case.cohort, case.patient) for case in cases}
    facts = {
        "methods": ", ".join(
            f"{row} ({len(own)} run{'s' * (len(own) > 1)})" for row, own in runs.items()
        ),
        "cases": f"{len(questions(cases))} of {len(patients)} patients, asked of every row",
    }
    named = ", ".join(runs)
    title = f"{named if len(named) < TITLE else f'{len(runs)} methods'}: held-out organs"
    lead = "Several methods on identical questions; differences are taken case by case."
    text = html.page(title, lead, facts, sections)
    write_pages(folder, text, [f"# {title}", *map(as_sections, bouts), *heads])


def section(folder: Path, bout: Bout) -> list[str]:
    """Write a bout as pieces of a page."""
    (head, *rows), *others = bout.tables
    return [
        html.note(bout.protocol),
        html.paragraph(bout.headline),
        html.table(head, rows, best=bout.lines[0].row),
        *(html.table(cells[0], cells[1:]) for cells in others),
        html.folded("what the rows are", "\n".join(bout.notes)),
        html.picture(boxes_of(folder, bout.shots), BOXES),
        *walked(folder, bout.shots, bout.steps),
        html.note(bout.seconds),
    ]


def as_sections(bout: Bout) -> str:
    """Write a bout in Markdown."""
    notes = "\n".join(f"- {note}" for note in bout.notes)
    tables = map(as_markdown, [*bout.tables, *curves.tables(bout.steps)])
    return "\n\n".join(
        [
            f"## Support: {labelled(bout.shots)}",
            bout.protocol,
            bout.headline,
            *tables,
            notes,
            bout.seconds,
        ]
    )
