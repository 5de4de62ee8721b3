"""Draw the README's figures: organs shown in five slices of one patient, to a run that has never
seen them, or to the rule that learns nothing.

    python -m experiments.studies.figure --run RUN --data RUN/../phantoms-0/phantom_x [...]
    python -m experiments.studies.figure --output PICTURE --data RUN/../phantoms-0/phantom_x [...]

Of every structure of a data set the first patient is the support; of all others the one with the
median Dice is drawn, in the slice with most of the truth.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from matplotlib.figure import Figure

from jaxmeta.commands.command import parse_words, run
from jaxmeta.data.formats.image import read_label
from jaxmeta.data.grid import spacing, to_slices
from jaxmeta.data.layouts.found import described
from jaxmeta.inference.found import FoundVolume
from jaxmeta.inference.options import Options as Asked
from jaxmeta.inference.predict import segmented
from jaxmeta.metrics import dice, overlap
from jaxmeta.options import options
from jaxmeta.parallel import devices

LABEL, MASK, TRUTH = "#f2b134", "#3aa6c9", "#ffffff"
ROWS = ("support: labelled", "query: another patient", "mask (truth outlined)")


@options
class Options:
    """Draw support, query and mask of what a run has never seen."""

    data: tuple[Path, ...]
    """Data sets with imagesTr/, labelsTr/ and dataset.json, of organs that the run held out."""
    run: Literal["none"] | Path = "none"
    """The run folder; none: masks without training."""
    output: Path = Path("experiments/figures/few_shot.png")
    """The picture."""
    shots: int = 5
    """Labelled slices of the support patient."""


class Column(NamedTuple):
    """One structure: a slice of the support, and one of a query with what was found."""

    title: str
    support: np.ndarray
    label: np.ndarray
    query: np.ndarray
    truth: np.ndarray
    mask: np.ndarray
    sides: tuple[float, float]  # mm of the query's pixels


def main() -> None:
    """Parse, segment and draw."""
    options = parse_words(Options, __doc__)
    if options.run != "none":
        devices.begin(options.run.resolve().parent / ".compiled")
    draw(options.output, [c for folder in options.data for c in columns(folder, options)])
    print(options.output)


def columns(folder: Path, options: Options) -> Iterator[Column]:
    """Segment a data set's structures by its first patient."""
    about = described(folder)
    names = {int(value): name for value, name in about["labels"].items() if int(value)}
    modality = about["modality"]["0"]
    images, labels = (
        [folder / row[kind] for row in about["training"]] for kind in ("image", "label")
    )
    asked = Asked(
        run=options.run,
        image=tuple(images),
        output=options.output,
        support=(f"{images[0]}:{labels[0]}",),
        structures=tuple(names),
        shots=options.shots,
        modality="ct" if modality == "CT" else "mr",
    )
    support, *queries = [
        (found, to_slices(read_label(label), found.grid))
        for found, label in zip(segmented(asked), labels, strict=True)
    ]
    for value, name in names.items():
        yield column(f"{name.rpartition('_')[0]}, {modality}", value, support, queries)


def column(
    title: str, value: int, support, queries: list[tuple[FoundVolume, np.ndarray]]
) -> Column:
    """Choose the query with the median Dice."""
    scores = [dice(overlap(found.labels == value, truth == value)) for found, truth in queries]
    middle = int(np.argsort(scores)[len(scores) // 2])
    (shown, label), (found, truth) = support, queries[middle]
    at, of = (int((each == value).sum((1, 2)).argmax()) for each in (label, truth))
    return Column(
        f"{title}\nDice {scores[middle]:.2f}",
        shown.slices[at],
        label[at] == value,
        found.slices[of],
        truth[of] == value,
        found.labels[of] == value,
        spacing(found.grid)[1:],
    )


def draw(path: Path, columns: list[Column]) -> None:
    """Draw a column for each structure: the labelled slice, the new one, and what was found."""
    figure = Figure(figsize=(1.75 * len(columns) + 0.3, 5.7))
    axes = figure.subplots(3, len(columns), squeeze=False)
    for number, (one, of) in enumerate(zip(columns, axes.T, strict=True)):
        pictures = (
            (one.support, one.label, LABEL),
            (one.query, None, ""),
            (one.query, one.mask, MASK),
        )
        for (grey, mask, color), axis in zip(pictures, of, strict=True):
            axis.imshow(grey, cmap="gray", aspect=one.sides[0] / one.sides[1])
            if mask is not None:
                axis.contourf(mask, [0.5, 1.5], colors=[color], alpha=0.45)
                axis.contour(mask, [0.5], colors=[color], linewidths=1.2)
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        of[2].contour(one.truth, [0.5], colors=[TRUTH], linewidths=0.9, linestyles="dotted")
        of[0].set_title(one.title, fontsize=9)
        for axis, text in zip(of if number == 0 else (), ROWS):
            axis.set_ylabel(text, fontsize=9)
    figure.tight_layout(pad=0.4, h_pad=0.5, w_pad=0.3)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110, metadata={"Software": None})


if __name__ == "__main__":
    run(main)
