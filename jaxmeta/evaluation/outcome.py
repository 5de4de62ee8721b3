"""What the test of a run found: its cases, and the pictures and masks that are made on the way."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmeta.data.formats.nifti import save_mask
from jaxmeta.data.grid import from_slices, sliced_shape
from jaxmeta.data.names import amount
from jaxmeta.data.shards.shards import Shards, cohort_of
from jaxmeta.evaluation.baselines import METHOD
from jaxmeta.evaluation.finetune import Tuned
from jaxmeta.evaluation.pictures import Picture, pictures_of
from jaxmeta.evaluation.protocol import Conditions, Description
from jaxmeta.evaluation.protocols import SUFFIXES
from jaxmeta.evaluation.scoring import Score
from jaxmeta.evaluation.trial import Query
from jaxmeta.methods import METHODS
from jaxmeta.metrics import CONVENTIONS, Measures, measure
from jaxmeta.metrics.conventions import overlap_alone, refused
from jaxmeta.runs.run import Run
from jaxmeta.splits.split import Split

# By row: its cases after so many of the method's steps.
Curves = dict[str, dict[int, list[Score]]]
Step = NamedTuple("Step", [("steps", int), *Score.__annotations__.items()])  # a line of steps.csv
Step.__new__.__defaults__ = Score.__new__.__defaults__  # an older report lacks newer measures


class Measuring(NamedTuple):
    """By which convention distances are measured, and the tolerance of the surface Dice in mm."""

    convention: str = "default"
    tolerance: float = 2.0


def measured(how: Measuring) -> Callable[..., Measures]:
    """Make measured(mask, truth, spacing=) of it; where a convention refuses empty masks, they have
    a Dice of 0 and no distance."""
    convention = CONVENTIONS[how.convention]
    if convention.empty is refused:
        convention = convention._replace(empty=overlap_alone)
    return partial(measure, convention=convention, tolerance=how.tolerance)


def told(how: Measuring) -> str:
    """Say what the distances of a table are."""
    miss = {
        "default": "; a miss is as far off as the volume's diagonal, in brackets without misses"
    }
    return (
        f"HD95 in mm and NSD within {how.tolerance:g} mm by the convention {how.convention}"
        f"{miss.get(how.convention, '')}"
    )


def labelled_text(shots: int) -> str:
    """Say how much was labelled."""
    return amount(shots, "slice")


class Table(NamedTuple):
    """What one number of shots gave."""

    shots: int
    scores: list[Score]
    pictures: list[tuple[Score, tuple[Picture, ...]]]  # of the method, each volume once
    settings: dict[str, Tuned]
    seconds: float  # of one adaptation
    by_steps: Curves = {}
    told: Description = Description("", "")  # what the protocol asked


class Outcome(NamedTuple):
    """What the test of a run gave."""

    folder: Path  # of the run
    algorithm: str
    seed: int  # of its training
    step: int  # of its best checkpoint
    split: Split
    support_sets: int
    conditions: Conditions
    devices: str  # on which adaptations were timed
    tables: tuple[Table, ...]
    recipe: dict[str, Any]  # its settings, which tell it from others of its algorithm
    heads: dict[str, float]  # Dice of each pre-training head of the transfer run, if there is one
    measuring: Measuring = Measuring()
    leaks: tuple[str, ...] = ()  # what the run's training shared with the test
    protocol: str = "few-shot"  # by which it was tested
    stands_on: str = ""  # what points and frozen weights it uses, and what those have seen


def taught_by_labels(outcomes: Sequence[Outcome]) -> bool:
    """Tell whether all have learned the organ itself, from labels of other patients."""
    known = (METHODS.get(outcome.algorithm) for outcome in outcomes)
    return all(method is not None and method.by_labels for method in known)


def parted(row: str) -> tuple[str, str]:
    """Part the name of a row from what says that it was scored in another way."""
    suffix = next((each for each in SUFFIXES if row.endswith(each)), "")
    return row.removesuffix(suffix), suffix


def collect(
    found: Iterable[tuple[Score, Query, np.ndarray]],
    run: Run,
    shards: Shards,
    shots: int,
    *,
    masks: Path | None,
) -> tuple[list[Score], list[tuple[Score, tuple[Picture, ...]]]]:
    """Collect cases; of each volume's first one by the method pictures, and the mask as NIfTI in
    `masks`."""
    cohort = cohort_of(shards)
    scores, pictures, seen = [], [], set()
    for score, query, mask in found:
        score = placed(score, run, shots, cohort)
        scores.append(score)
        if score.row != METHOD or (score.organ, score.case) in seen:
            continue
        seen.add((score.organ, score.case))
        pictures.append((score, pictures_of(shards, score, query, mask)))
        if masks and len(mask) == sliced_shape(shards.volumes[query.volume].grid)[0]:
            name = f"{score.case}_{score.organ}_{shots}shot.nii.gz".replace("/", "_")
            save_prediction(masks / name, mask, shards, query.volume)
    return scores, pictures


def placed(score: Score, run: Run, shots: int, cohort: str) -> Score:
    """Say of a case which run it is of, after how many slices, and on which data."""
    return score._replace(shots=shots, run=str(run.folder), cohort=cohort)


def to_steps(curves: Curves) -> list[tuple]:
    """List the lines of steps.csv."""
    return [
        Step(count, *score)
        for own in curves.values()
        for count, scores in own.items()
        for score in scores
    ]


def from_steps(lines: Iterable[tuple]) -> Curves:
    """Sort the lines of steps.csv."""
    curves: Curves = {}
    for count, *values in lines:
        score = Score(*values)
        curves.setdefault(score.row, {}).setdefault(count, []).append(score)
    return curves


def save_prediction(path: Path, mask: np.ndarray, shards: Shards, volume: int) -> None:
    """Write a mask [N, H, W] on the grid of its volume's own file."""
    grid = shards.volumes[volume].grid
    path.parent.mkdir(parents=True, exist_ok=True)
    save_mask(path, from_slices(mask.astype(np.uint8), grid), grid)
