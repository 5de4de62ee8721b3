"""What a person looks at: the table, the files behind it, and the pictures. Nothing is computed
here.

Pictures are drawn on figures of their own (no pyplot, no global state).
"""

import csv
import math
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from skimage.measure import find_contours

from jaxmeta.evaluation.intervals import Interval, Means, number
from jaxmeta.evaluation.pictures import Picture
from jaxmeta.files import beside
from jaxmeta.metrics import Counts

OVER_PATIENTS = ("patients",)  # what intervals are meant to be over
SUPPORTS, RUNS = (*OVER_PATIENTS, "supports"), (*OVER_PATIENTS, "supports", "runs")
LETTERS = 32  # letters a line of a name in a picture
MOST_NAMED = 8  # more curves have their names beside the plot
COLORS, STROKES = 10, ("-", "--", ":")  # after so many curves colors come again, in other strokes
TRUTH, PREDICTED = "#2ca02c", "#d62728"


def over(values: Sequence[Interval], asked: Sequence[str]) -> str:
    """Say what the intervals of a column are over, and what of the levels `asked` they do not
    cover."""
    named = widest(values)
    if not named:
        return f"[no interval: {asked[-1]} too few]" if asked == OVER_PATIENTS else "[no interval]"
    missing = [level for level in asked if level not in named]
    told = f"95 % CI over {enumerated(named)}"
    return f"[{told}, not over {enumerated(missing)}; t]" if missing else f"[{told}; t]"


def widest(values: Sequence[Interval]) -> tuple[str, ...]:
    """Give the levels of that interval of a column which is over most of them."""
    return max((value.over for value in values), key=len, default=())


def enumerated(names: Sequence[str]) -> str:
    """Write names one after the other."""
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


def grid(title: str, values: Mapping[str, Mapping[str, tuple[float, Counts]]]) -> str:
    """Lay means out as text, a line for each row and a column for each organ, misses beside
    them."""
    return "\n".join(columns(organ_cells(title, values)))


def organ_cells(
    title: str, values: Mapping[str, Mapping[str, tuple[float, Counts]]]
) -> list[list[str]]:
    """Write the cells of `grid`, the head first."""
    heads = list(dict.fromkeys(name for own in values.values() for name in own))

    def cell(mean: float, counts: Counts) -> str:
        return f"{counts.missed} missed, {number(mean)}" if counts.missed else number(mean)

    rows = [[title, *heads]]
    rows += [
        [row, *(cell(*own[c]) if c in own else "" for c in heads)] for row, own in values.items()
    ]
    return rows


def columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Make a line of text of each row of cells: the first to the left, numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([cells[0].ljust(widths[0]), *map(str.rjust, cells[1:], widths[1:])]).rstrip()
        for cells in rows
    ]


def distance_text(value: Means | None) -> str:
    """Write a mean distance, in brackets that without misses where it is another."""
    if value is None:
        return ""
    text = [f"{mm:.1f}" if math.isfinite(mm) else "none" for mm in value]
    return text[0] if text[0] == text[1] else f"{text[0]} ({text[1]})"


def with_interval(value: Interval, column: Sequence[Interval] = (), *, sign: bool = False) -> str:
    """Write a mean with its interval, where it has one.

    What it is over stands behind it where the head of its `column` says more.
    """
    if math.isnan(value.low):
        return number(value.mean, sign=sign)
    low, high = number(value.low, sign=sign), number(value.high, sign=sign)
    text = f"{number(value.mean, sign=sign)} [{low}, {high}]"
    return (
        (f"{text} over {enumerated(value.over)}")
        if column and value.over != widest(column)
        else text
    )


def chance_text(p: float) -> str:
    """Write a p, where there is one."""
    return "" if math.isnan(p) else "< .001" if p < 0.001 else number(p)


def write_scores(path: Path, scores: Sequence[tuple]) -> None:
    """Write one line a case; a case without a number has an empty cell."""
    how = dict(newline="", encoding="utf-8", errors="backslashreplace")
    with beside(path) as part, part.open("w", **how) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(scores[0]._fields if scores else [])
        for score in scores:
            writer.writerow(
                ["" if isinstance(cell, float) and math.isnan(cell) else cell for cell in score]
            )


def read_scores(path: Path, kind: type) -> list:
    """Read cases back, each field as its named tuple `kind` has it."""

    def as_written(of: type, cell: str):
        return of(cell or math.nan) if of is float else of(cell)

    with path.open(newline="", encoding="utf-8") as file:
        return [
            kind(**{name: as_written(kind.__annotations__[name], row[name]) for name in row})
            for row in csv.DictReader(file)
        ]


def overlay(path: Path, pictures: Sequence[Picture | None], *, columns: int = 3) -> None:
    """Draw slices with the contours of truth and prediction; where there is None, a place stays
    empty.

    In canonical (RAS) order the first axis of an axial slice runs to the patient's right; slices
    are drawn as radiologists look at them, the patient's right on the left and the front up.
    """
    rows = max(1, math.ceil(len(pictures) / columns))
    figure = Figure(figsize=(3 * columns, 3.3 * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, picture in zip(axes, pictures, strict=False):
        if picture is None:
            continue
        low, high = np.percentile(picture.image, [1, 99])
        axis.imshow(
            picture.image.T, cmap="gray", origin="lower", vmin=low, vmax=max(high, low + 1e-6)
        )
        for mask, color in ((picture.target, TRUTH), (picture.predicted, PREDICTED)):
            for contour in find_contours(np.pad(mask, 1).astype(float), 0.5):
                axis.plot(contour[:, 0] - 1, contour[:, 1] - 1, color=color, linewidth=1.2)
        axis.set_aspect(picture.spacing[1] / picture.spacing[0])
        axis.invert_xaxis()
        axis.set_title(picture.title, fontsize=8)
    truth = "truth green, " if any(each.target.any() for each in pictures if each) else ""
    figure.suptitle(f"{truth}prediction red", fontsize=9)
    with beside(path) as part:
        figure.savefig(part, dpi=120, format="png")


def name_text(name: str) -> str:
    """Write a name into a picture as it stands, in lines that leave room for the rest."""
    text = textwrap.fill(name, LETTERS, break_on_hyphens=False).replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text  # else matplotlib would hide it


def boxes(path: Path, values: Mapping[str, Mapping[str, Sequence[float]]], label: str) -> None:
    """Draw a box plot for each organ, a box a row; the line is the median, whiskers reach 1.5
    boxes."""
    rows = max(map(len, values.values()), default=1)
    names = [name_text(row) for own in values.values() for row in own]
    lines = [line for name in names for line in name.splitlines()]
    most = max((name.count("\n") for name in names), default=0)
    size = (
        3.4 * max(1, len(values)) + 0.06 * max(map(len, lines), default=0),
        1.2 + (0.32 + 0.14 * most) * rows,
    )
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, max(1, len(values)), squeeze=False, sharey=True).ravel()
    for axis, (organ, own) in zip(axes, values.items(), strict=False):
        kept = [[v for v in each if not math.isnan(v)] for each in own.values()]
        axis.boxplot(kept, orientation="horizontal", widths=0.6, flierprops={"markersize": 3})
        axis.set_yticks(range(1, len(own) + 1), list(map(name_text, own)), fontsize=8)
        axis.set_title(organ, fontsize=9)
        axis.set_xlabel(label, fontsize=8)
        axis.set_xlim(-0.02, 1.02)
        axis.grid(axis="x", alpha=0.3)
    axes[0].invert_yaxis()
    with beside(path) as part:
        figure.savefig(part, dpi=120, format="png")


def curves(
    path: Path,
    series: Mapping[str, tuple[Sequence[float | int], Sequence[float | int]]],
    *,
    along: str = "step",
    marker: str | None = None,
) -> None:
    """Draw one small plot a series (steps, values); series named a/b and a/c share the plot "a"."""
    plots = {}
    for name, points in series.items():
        head, _, tail = name.partition("/")
        plots.setdefault(head, {})[tail or name] = points
    most = max(map(len, plots.values()), default=0)
    told = [sum(name_text(name).count("\n") + 1 for name in own) for own in plots.values()]
    size = (
        (4 if most <= MOST_NAMED else 7) * max(1, len(plots)),
        max(3, 0.16 * max(told, default=0)),
    )
    figure = Figure(figsize=size, layout="constrained")
    axes = figure.subplots(1, max(1, len(plots)), squeeze=False).ravel()
    for axis, (title, lines) in zip(axes, plots.items(), strict=False):
        for place, (name, (steps, values)) in enumerate(lines.items()):
            kind = STROKES[place // COLORS % len(STROKES)]
            how = dict(linewidth=1, linestyle=kind, marker=marker, markersize=4)
            axis.plot(steps, values, label=name_text(name), **how)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel(along, fontsize=8)
        place = {} if len(lines) <= MOST_NAMED else dict(loc="upper left", bbox_to_anchor=(1, 1))
        axis.legend(fontsize=7, frameon=False, **place)
    with beside(path) as part:
        figure.savefig(part, dpi=120, format="png")
