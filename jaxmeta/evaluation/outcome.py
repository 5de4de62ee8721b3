"""What the test of a run found: its cases, and the pictures and masks that are made on the way."""

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxmeta.data.formats.nifti import save_mask
from jaxmeta.data.grid import from_slices, sliced_shape
from jaxmeta.data.names import amount
from jaxmeta.data.shards.shards import Shards, cohort_of
from jaxmeta.evaluation.pictures import Picture, pictures_of
from jaxmeta.evaluation.protocols.alpnet_scores import KNOWN
from jaxmeta.evaluation.protocols.within_volume_scores import RELEASED
from jaxmeta.evaluation.segmenter import Case
from jaxmeta.evaluation.settings import Protocol, Setting
from jaxmeta.evaluation.trial import Query
from jaxmeta.metrics import CONVENTIONS, Measures, measure
from jaxmeta.metrics.conventions import overlap_alone, refused
from jaxmeta.runs.run import Run
from jaxmeta.splits.split import Split

METHOD = "adapted"


# By row: its cases after so many of the method's steps.
Curves = dict[str, dict[int, list[Case]]]
Step = NamedTuple("Step", [("steps", int), *Case.__annotations__.items()])  # a line of steps.csv


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


def labelled(shots: int) -> str:
    """Say how much was labelled."""
    return amount(shots, "slice")


class Table(NamedTuple):
    """What one number of shots gave."""

    shots: int
    cases: list[Case]
    pictures: list[tuple[Case, tuple[Picture, ...]]]  # of the method, each volume once
    settings: dict[str, Setting]
    seconds: float  # of one adaptation
    by_steps: Curves = {}


class Outcome(NamedTuple):
    """What the test of a run gave."""

    folder: Path  # of the run
    algorithm: str
    seed: int  # of its training
    step: int  # of its best checkpoint
    split: Split
    support_sets: int
    protocol: Protocol
    devices: str  # on which adaptations were timed
    tables: tuple[Table, ...]
    recipe: dict[str, Any]  # its settings, which tell it from others of its algorithm
    heads: dict[str, float]  # Dice of each pre-training head of the transfer run, if there is one
    measuring: Measuring = Measuring()
    leaks: tuple[str, ...] = ()  # what the run's training shared with the test
    literature: str = ""  # the protocol of the literature that it was tested by, with its digest
    within: str = ""  # what was asked within volumes
    stands_on: str = ""  # what points and frozen weights it uses, and what those have seen


def parted(row: str) -> tuple[str, str]:
    """Part the name of a row from what says that it was scored in another way."""
    suffix = next((each for each in (KNOWN, RELEASED) if row.endswith(each)), "")
    return row.removesuffix(suffix), suffix


def keep(
    found: Iterable[tuple[Case, Query, np.ndarray]],
    run: Run,
    shards: Shards,
    shots: int,
    *,
    masks: Path | None,
) -> tuple[list[Case], list[tuple[Case, tuple[Picture, ...]]]]:
    """Collect cases; of each volume's first one by the method pictures, and the mask as NIfTI in
    `masks`."""
    cohort = cohort_of(shards)
    cases, pictures, seen = [], [], set()
    for case, query, mask in found:
        case = placed(case, run, shots, cohort)
        cases.append(case)
        if case.row != METHOD or (case.organ, case.case) in seen:
            continue
        seen.add((case.organ, case.case))
        pictures.append((case, pictures_of(shards, case, query, mask)))
        if masks and len(mask) == sliced_shape(shards.volumes[query.volume].grid)[0]:
            name = f"{case.case}_{case.organ}_{shots}shot.nii.gz".replace("/", "_")
            save_prediction(masks / name, mask, shards, query.volume)
    return cases, pictures


def placed(case: Case, run: Run, shots: int, cohort: str) -> Case:
    """Say of a case which run it is of, after how many slices, and on which data."""
    return case._replace(shots=shots, run=str(run.folder), cohort=cohort)


def to_steps(curves: Curves) -> list[tuple]:
    """List the lines of steps.csv."""
    return [
        Step(count, *case)
        for own in curves.values()
        for count, cases in own.items()
        for case in cases
    ]


def from_steps(lines: Iterable[tuple]) -> Curves:
    """Sort the lines of steps.csv."""
    curves: Curves = {}
    for count, *values in lines:
        case = Case(*values)
        curves.setdefault(case.row, {}).setdefault(count, []).append(case)
    return curves


def save_prediction(path: Path, mask: np.ndarray, shards: Shards, volume: int) -> None:
    """Write a mask [N, H, W] on the grid of its volume's own file."""
    grid = shards.volumes[volume].grid
    path.parent.mkdir(parents=True, exist_ok=True)
    save_mask(path, from_slices(mask.astype(np.uint8), grid), grid)
