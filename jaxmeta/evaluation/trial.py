"""What a test asks about one organ: T supports of a few labelled slices, and volumes to segment.

The counterpart of an episode for evaluation. An episode draws query slices; a trial takes every
volume of every patient who has the organ, whole, with its truth at the original resolution. A
volume is never scored under a support that its own patient gave.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmeta.atlas import Atlas
from jaxmeta.data.grid import spacing
from jaxmeta.data.postprocess import predicted_mask
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.shards import Shards
from jaxmeta.splits.pool import Entry, Pool
from jaxmeta.tasks.episodes import Slice, load_examples
from jaxmeta.tasks.prompter import labelled_slices
from jaxmeta.tasks.task import Examples


class Support(NamedTuple):
    """The labelled slices of a support set, where each lies in its volume, and whose they are."""

    examples: Examples | None  # K slices
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

    @property
    def support_sets(self) -> int:
        """Say how many supports are adapted to in one call; without any, a learner is as it is."""
        return max(1, len(self.supports))


NO_SUPPORT = Support(None, np.zeros(0, np.float32), (), ())  # of learners that need none


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
        np.array([height_of_slice(shards, organ, at) for at in chosen], np.float32),
        patients,
        tuple(f"{shards.volumes[volume].name}:{number}" for volume, number in chosen),
    )


def atlases(supports: Support) -> list[Atlas]:
    """Take each of T supports, stacked as `together` stacks them, as an atlas."""
    examples = zip(*supports.examples[:3], strict=True)
    rest = zip(supports.place, supports.patients, supports.slices, strict=True)
    return [
        atlas_of(Support(Examples(*each), *others))
        for each, others in zip(examples, rest, strict=True)
    ]


def atlas_of(support: Support) -> Atlas:
    """Take the valid slices of a support as an atlas; those of one scan have its name."""
    scans = [at.rpartition(":")[0] for at in support.slices]
    return labelled_slices(support.examples, support.place, scans)


def height_of_slice(shards: Shards, organ: str, at: Slice) -> float:
    """Say how high a slice lies in its volume."""
    volume, number = at
    return float(places(len(shards.volumes[volume].counts[organ]))[number])


def places(slices: int) -> Float[np.ndarray, " N"]:
    """Give each slice of a volume its relative height, 0 to 1."""
    return np.linspace(0, 1, slices, dtype=np.float32)


def places_for(atlas: Atlas, place: Float[np.ndarray, " N"]) -> Float[np.ndarray, " N"]:
    """Give slices their heights as an atlas needs them: one alone has none, and lies where the
    labelled ones do."""
    return place if len(place) > 1 else np.full(len(place), atlas.height.mean(), np.float32)


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
