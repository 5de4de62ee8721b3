"""What a test asks about one organ: T supports of a few labelled slices, and whole volumes to
segment.

The counterpart of an episode for evaluation. An episode draws query slices; a trial takes every
volume of every patient who has the organ, whole, with its truth at the original resolution. A
volume is never scored under a support that its own patient gave.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmeta.data.grid import spacing
from jaxmeta.data.postprocess import predicted_mask
from jaxmeta.data.shards.shards import Shards, Volume, holders, load_images, load_masks
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.supports import draw_support, identity, support_patients
from jaxmeta.splits.split import Entry, Pool
from jaxmeta.tasks.episodes import Slice, load_examples, random_stream, shuffled
from jaxmeta.tasks.task import Examples


class Support(NamedTuple):
    """The labelled slices of one draw, where each lies in its volume, and whose they are."""

    examples: Examples  # K slices
    place: Float[np.ndarray, " K"]  # 0 in the first slice of its volume, 1 in the last
    patients: tuple[str, ...]
    slices: tuple[str, ...]  # "acdc/patient001_frame01:7"


class Query(NamedTuple):
    """A volume to be segmented, and its truth at the original resolution."""

    case: str
    patient: str
    image: Float[np.ndarray, "N S S 1"]
    target: Bool[np.ndarray, "N H W"]
    finish: Callable[[np.ndarray], np.ndarray]  # probabilities [N, S, S] -> the mask [N, H, W]
    volume: int  # its number in the shards
    spacing: tuple[float, float, float]  # mm along N, H and W
    first: int = 0  # number of its first slice in the volume, of which it may be a part


class Trial(NamedTuple):
    """One organ of one data set under test; `queries` are loaded when called, one at a time."""

    organ: str
    dataset: str
    entry: Entry
    supports: tuple[Support, ...]
    queries: tuple[Callable[[], Query], ...]
    answers: Mapping[
        str, int
    ] = {}  # by patient: the one support that they are scored under; else all


def trials(
    pool: Pool,
    *,
    shots: int,
    support_sets: int,
    size: int,
    mm: float | None = None,
    patients: int = 1,
    seed: int = 0,
    most: int | None = None,
    largest_component: bool = False,
) -> tuple[Trial, ...]:
    """Make a trial of every entry of the pool; `most` limits its query volumes (for searches).

    With `largest_piece` every mask is reduced to it before it is scored.

    Draw d takes other support patients than draw d - 1 as long as there are any, and its slices
    depend on (seed, organ, d) alone: the first of five slices is the one of one slice.
    """
    return tuple(
        Trial(
            entry.organ,
            entry.dataset,
            entry,
            tuple(
                support(
                    pool,
                    entry,
                    support_patients(entry, shots=shots, draw=draw, seed=seed, count=patients),
                    shots,
                    draw,
                    size=size,
                    mm=mm,
                    seed=seed,
                )
                for draw in range(support_sets)
            ),
            whole_volumes(pool, entry, size=size, mm=mm, largest_component=largest_component)[
                :most
            ],
        )
        for entry in pool.entries
    )


def whole_volumes(
    pool: Pool, entry: Entry, *, size: int, mm: float | None, largest_component: bool = False
) -> tuple[Callable[[], Query], ...]:
    """Make the queries of an entry: every volume of every patient, each loaded when called.

    Last come those whose labels show none of the organ: nothing is to be found there.
    """
    return tuple(
        partial(
            query,
            pool.shards,
            volume,
            entry.organ,
            size=size,
            mm=mm,
            largest_component=largest_component,
        )
        for volume in (
            *(volume for scans in entry.patients.values() for volume, _ in scans),
            *entry.bare,
        )
    )


def support(
    pool: Pool,
    entry: Entry,
    patients: tuple[str, ...],
    shots: int,
    draw: int,
    *,
    size: int,
    mm: float | None,
    seed: int,
) -> Support:
    """Draw and read the support that these patients give."""
    chosen = draw_support(
        pool, entry, patients, shots=shots, size=size, seed=seed, draw=draw, spacing=mm
    )
    return support_of(pool.shards, entry.organ, chosen, patients, size=size, mm=mm)


def support_of(
    shards: Shards,
    organ: str,
    chosen: Sequence[Slice],
    patients: tuple[str, ...],
    *,
    size: int,
    mm: float | None,
) -> Support:
    """Read chosen slices as the support that these patients give."""
    return Support(
        load_examples(shards, organ, chosen, size=size, spacing=mm),
        np.array([place(shards, organ, at) for at in chosen], np.float32),
        patients,
        tuple(f"{shards.volumes[volume].name}:{number}" for volume, number in chosen),
    )


def place(shards: Shards, organ: str, at: Slice) -> float:
    """Say how high a slice lies in its volume."""
    volume, number = at
    return float(places(len(shards.volumes[volume].counts[organ]))[number])


def places(slices: int) -> Float[np.ndarray, " N"]:
    """Give each slice of a volume its relative height, 0 to 1."""
    return np.linspace(0, 1, slices, dtype=np.float32)


def query(
    shards: Shards,
    volume: int,
    organ: str,
    *,
    size: int,
    mm: float | None = None,
    largest_component: bool = False,
) -> Query:
    """Read one whole volume at the network's size, and its truth at the file's own."""
    row = shards.volumes[volume]
    slices = range(len(row.counts[organ]))
    return Query(
        row.name,
        row.patient,
        load_images(shards, volume, slices, size=size, spacing=mm),
        load_masks(shards, volume, slices, organ) > 0,
        partial(predicted_mask, grid=row.grid, spacing=mm, largest_component=largest_component),
        volume,
        spacing(row.grid),
    )


def every_label(
    pool: Pool, entry: Entry, *, folds: int, size: int, mm: float | None = None, seed: int = 0
) -> tuple[Support, ...]:
    """Make the supports of an upper bound: all slices of all the organ's patients but one fold's.

    The patients under test are dealt into folds; fold f's support is every slice, with the organ or
    without, of every other patient who has it in this data set, those of the training side
    included. So every patient can be scored exactly once, by a network that never saw them: whose
    fold they are in (`folds_of`) says which.
    """
    dealt = folds_of(pool, entry, folds=folds, seed=seed)
    volumes = pool.shards.volumes
    scans = {
        name: [v for v, _ in held if like(volumes[v], entry)]
        for name, held in holders(pool.shards, entry.organ).items()
    }
    scans = {name: held for name, held in scans.items() if held}
    supports = []
    for fold in range(max(dealt.values()) + 1):
        patients = tuple(name for name in scans if dealt.get(name) != fold)
        slices = [
            (v, n)
            for name in patients
            for v in scans[name]
            for n in range(len(volumes[v].counts[entry.organ]))
        ]
        supports.append((patients, slices))
    length = max(len(slices) for _, slices in supports)
    return tuple(
        Support(
            load_examples(pool.shards, entry.organ, slices, length, size=size, spacing=mm),
            np.full(length, np.inf, np.float32),
            patients,
            (f"all {len(slices)} slices of {len(patients)} patients",),
        )
        for patients, slices in supports
    )


def folds_of(pool: Pool, entry: Entry, *, folds: int, seed: int = 0) -> dict[str, int]:
    """Deal all patients who are asked about into the folds of an upper bound: name -> fold.

    Those without the organ come last: no network learned from them, and one alone is asked about
    each.
    """
    stream = random_stream(seed, identity(entry), 2**31)
    names = shuffled(stream, sorted(entry.patients))
    if len(names) < 2:
        raise BadInput(f"an upper bound for {entry.organ} needs 2 patients, there is {len(names)}")
    bare = {pool.shards.volumes[volume].patient for volume in entry.bare} - entry.patients.keys()
    everybody = [*names, *shuffled(stream, sorted(bare))]
    return {name: at % min(folds, len(names)) for at, name in enumerate(everybody)}


def like(volume: Volume, entry: Entry) -> bool:
    """Say whether a volume is of the kind that an entry is made of."""
    own = volume.dataset, volume.modality, volume.channel
    return own == (entry.dataset, entry.modality, entry.channel)
