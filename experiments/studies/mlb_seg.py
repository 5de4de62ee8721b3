"""Make the tables of "MLB-Seg on real scans" (RESULTS.md) again.

    python -m experiments.studies.mlb_seg
    python -m experiments.studies.mlb_seg --collect WORK

`mlb_seg.csv` holds the Dice of every tested patient of every row, `mlb_seg_labels.csv` that of the
labels of everybody unlabelled, before and after; a line a case, to five decimals. The second
command collects both from the runs that `mlb_seg.sh` has made so far, and lets what trains nothing
on the organ answer beside them: place and intensity by the labelled slices, and the few-shot run
`WORK/few-shot-ORGAN`, where it is there, adapted to them (of the spleen that of the liver).
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from experiments.studies.kept_cases import read, rows_of, table, write
from jaxmeta.commands.command import parse_words, run
from jaxmeta.data.grid import sliced_shape
from jaxmeta.data.initial_labels import ATLAS, FOLDER, load_probability, open_initial_labels
from jaxmeta.data.shards.load import load_masks
from jaxmeta.data.shards.shards import Volume
from jaxmeta.evaluation.comparison import case_of
from jaxmeta.evaluation.labelling import labeller
from jaxmeta.evaluation.scoring import Score
from jaxmeta.metrics.overlap import dice, overlap
from jaxmeta.options import options, path_or_none
from jaxmeta.reports.figures import read_scores
from jaxmeta.runs.build import open_data
from jaxmeta.runs.config_file import read_run
from jaxmeta.runs.setup import resolved

CASES = Path(__file__).with_suffix(".csv")
LABELS = CASES.with_name("mlb_seg_labels.csv")
USUAL = {"left_atrium": 4, "liver": 2, "spleen": 2, "anterior": 5}  # labelled patients
ABLATIONS, OTHER_LABELS = ("no-ensemble", "no-teacher"), "mlb-atlas"
MLB, BEFORE, AFTER, FEW_SHOT = "mlb", "initial labels", "the student's", "few-shot"


@options
class Options:
    """Make the tables of MLB-Seg on real scans."""

    collect: Literal["none"] | Path = "none"
    """The folder of the study's runs, to be collected first."""


def main() -> None:
    """Parse, collect if that is wanted, and print."""
    given = parse_words(Options, __doc__)
    if work := path_or_none(given.collect):
        keep(CASES, tested(work))
        keep(LABELS, relabelled(work))
    print(tables(read(CASES), read(LABELS)))


def keep(path: Path, scores: Iterator[Score]) -> None:
    """Keep scores beside those that are kept, in an order that does not depend on which run ended
    first."""
    found = {(score.row, *case_of(score)): score for score in (read(path) if path.exists() else [])}
    found |= {(score.row, *case_of(score)): score for score in scores}
    order = lambda score: (score.shots, score.organ, score.run, score.case)
    ordered = sorted(found.values(), key=order)
    write(path, ordered, sorted(rows_of(ordered)))


def tested(work: Path) -> Iterator[Score]:
    """Collect what every row answered of the tested patients."""
    for path in sorted(work.glob("*/supervised/scores.csv")):
        organ, seed, labelled, row = path.parts[-3].split("-", 3)
        for score in read_scores(path, Score):
            yield score._replace(row=row, shots=int(labelled), run=seed)
    for folder in finished(work):
        organ, seed, labelled, _ = folder.name.split("-", 3)
        few_shot = work / f"{FEW_SHOT}-{organ.replace('spleen', 'liver')}"
        for row, by in {ATLAS: ATLAS, FEW_SHOT: str(few_shot)}.items():
            if int(labelled) == USUAL[organ] and (row == ATLAS or few_shot.exists()):
                yield from answered(folder, row, by, "test_patients", int(labelled), seed)


def finished(work: Path) -> list[Path]:
    """List the runs of MLB-Seg that were tested."""
    return sorted(path.parents[1] for path in work.glob(f"*-{MLB}/supervised/summary.json"))


def relabelled(work: Path) -> Iterator[Score]:
    """Collect how good the labels of the unlabelled were, and are."""
    for folder in finished(work):
        _, seed, labelled, _ = folder.name.split("-", 3)
        config, _ = read_run(folder)
        shards = open_data(config)
        labels = open_initial_labels(folder / FOLDER, shards, config.organ, ())

        def before(volume: Volume, labels=labels):
            return load_probability(labels, volume, range(sliced_shape(volume.grid)[0]))

        kept = "unlabelled", int(labelled), seed
        yield from answered(folder, BEFORE, before, *kept)
        yield from answered(folder, AFTER, str(folder), *kept)


def answered(
    folder: Path, row: str, by: str | Callable, side: str, labelled: int, seed: str
) -> Iterator[Score]:
    """Score what somebody says of the patients of one side of a run: a function of a scan, or who
    could have given the run its initial labels."""
    config, division = read_run(folder)
    shards = open_data(config)
    config = resolved(config, shards)
    if isinstance(by, str):
        own = dataclasses.replace(config.method, initial_labels=by)
        asked, _ = labeller(dataclasses.replace(config, method=own), shards, division)
        numbers = {volume.name: n for n, volume in enumerate(shards.volumes)}
        by = lambda volume: asked(numbers[volume.name])
    for number, volume in enumerate(shards.volumes):
        if volume.patient not in getattr(division, side) or config.organ not in volume.counts:
            continue
        every = np.arange(sliced_shape(volume.grid)[0])
        truth = load_masks(shards, number, every, config.organ) > 0
        yield Score(
            row=row,
            organ=config.organ,
            support_set=0,
            support_patients="",
            support_slices="",
            patient=volume.patient,
            case=volume.name,
            dice=dice(overlap(by(volume) > 0.5, truth)),
            iou=float("nan"),
            outcome="",
            shots=labelled,
            run=seed,
        )


def tables(scores: Sequence[Score], labels: Sequence[Score]) -> str:
    """Lay out all rows over organs and organ by organ, the curve, and the labels."""
    usual = [score for score in scores if score.shots == USUAL[score.organ]]
    every = [score for score in usual if score.row not in (*ABLATIONS, OTHER_LABELS)]
    parts = [("all organs", every, MLB)]
    parts += [(organ, [s for s in every if s.organ == organ], MLB) for organ in USUAL]
    less = [s for s in usual if s.organ == "left_atrium" and s.row in (MLB, "uniform", *ABLATIONS)]
    parts.append(("left_atrium, with less in it", less, MLB))
    other = [s for s in usual if s.organ in ("liver", "spleen") and s.row in (MLB, OTHER_LABELS)]
    parts.append(("initial labels by place and intensity", other, MLB))
    curve = [s for s in scores if s.organ == "left_atrium" and s.row in (MLB, "augmented")]
    for count in sorted({score.shots for score in curve}):
        own = [score for score in curve if score.shots == count]
        parts.append((f"left_atrium, {count} labelled", own, MLB))
    own = [score for score in labels if score.shots == USUAL[score.organ]]
    parts.append(("labels of the unlabelled", own, AFTER))
    laid = []
    for title, of, reference in parts:
        alike = [score._replace(shots=0) for score in of]
        if reference in rows_of(alike):
            laid.append(table(alike, reference, title))
    return "\n".join(laid)


if __name__ == "__main__":
    run(main)
