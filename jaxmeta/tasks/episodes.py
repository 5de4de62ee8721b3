"""A few-shot task as a pure function of (seed, index): first what is drawn, then its pixels.

`draw_episode` names a structure, support slices and query slices, with no pixel read;
`load_episode` reads them into a `Task` of fixed shapes. No state is kept, so that any worker,
process or host makes the same task of the same numbers, and a run that stops goes on where it was.
"""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxmeta.data.grid import sliced_shape
from jaxmeta.data.grid import spacing as millimeters
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.shards import Shards
from jaxmeta.errors import BadInput
from jaxmeta.splits.pool import Entry, Pool, slice_count
from jaxmeta.tasks.task import Examples, Task

Slice = tuple[int, int]  # the number of a volume in the shards, and a slice of it

# A slice with fewer pixels of the organ than this, at the size of the task, may lose them all to
# the resize; no annotator would choose it, so a support takes such slices last.
VISIBLE = 4


class EpisodeShape(NamedTuple):
    """How large a task is; the same for every task of a run, so that one program fits all."""

    shots: int
    """Labelled support slices."""
    queries: int
    """Query slices."""
    size: int
    """Rows and columns after resizing."""
    spacing: float | None = None
    """Millimeters a pixel, or None to stretch each slice to the square."""
    support_patients: int = 1
    """Patients that the support slices are taken from in turn, where there are as many and one for
    the query."""
    negative_fraction: float = 0.25
    """Share of query slices without the organ, as in a whole volume."""
    query_patients: int = 4
    """Patients, none of them in the support, that the query slices are taken from in turn at most.
    """


class Episode(NamedTuple):
    """What was drawn, by number: `shards.volumes[volume].name` names a scan."""

    organ: str
    dataset: str
    support: tuple[Slice, ...]
    query: tuple[Slice, ...]
    number: int  # of the structure among the pool's entries


def draw_episode(pool: Pool, shape: EpisodeShape, seed: int, index: int) -> Episode:
    """Draw data set, organ, patients and slices, each uniformly given those before.

    Balance in this order keeps a large data set, or one that labels sixty organs, from being all
    that is learned. Support and query have different patients unless the structure has only one.
    Support slices all hold the organ; where its patients have fewer than `shots`, all of theirs are
    taken and the task marks the rest as not valid. Of the query, `negative_fraction` lacks the
    organ (rounded up or down at random, so that the mean is exact), fewer where the scans have no
    such slices.
    """
    rng = random_stream(seed, index, 0)
    dataset = pick(rng, sorted({entry.dataset for entry in pool.entries}))
    organ = pick(rng, sorted({entry.organ for entry in pool.entries if entry.dataset == dataset}))
    like = [n for n, e in enumerate(pool.entries) if (e.dataset, e.organ) == (dataset, organ)]
    number = pick(rng, like)
    entry = pool.entries[number]
    names = shuffled(rng, list(entry.patients))
    several = len(names) > 1
    support_names = names[: min(shape.support_patients, len(names) - 1)] if several else names
    query_names = names[len(support_names) :][: shape.query_patients] if several else names
    shots = shape.shots if several else min(shape.shots, slice_count(entry.patients) - 1)
    slices_by_patient = [
        support_slices(rng, pool.shards, entry, name, shape) for name in support_names
    ]
    support = round_robin(slices_by_patient, shots)
    held = [[s for s in labelled(entry, name) if s not in support] for name in query_names]
    bare = [unlabelled(pool, entry, name) for name in query_names]
    share = shape.queries * shape.negative_fraction
    empty = round_robin(
        [shuffled(rng, hand) for hand in bare], int(share) + (rng.random() < share % 1)
    )
    full = round_robin([shuffled(rng, hand) for hand in held], shape.queries - len(empty))
    return Episode(organ, dataset, tuple(support), tuple(full + empty), number)


def load_episode(pool: Pool, shape: EpisodeShape, episode: Episode, seed: int, index: int) -> Task:
    """Read what was drawn; the task's key comes from (seed, index) by a stream of its own."""

    def load(slices: tuple[Slice, ...], length: int) -> Examples:
        shards, organ = pool.shards, episode.organ
        return load_examples(shards, organ, slices, length, size=shape.size, spacing=shape.spacing)

    return Task(
        load(episode.support, shape.shots),
        load(episode.query, shape.queries),
        random_stream(seed, index, 1).integers(2**32, size=2, dtype=np.uint32),
        np.asarray([index, episode.number], np.int32),
    )


def load_examples(
    shards: Shards,
    organ: str,
    slices: Sequence[Slice],
    length: int | None = None,
    *,
    size: int,
    spacing: float | None = None,
) -> Examples:
    """Read slices and their masks, in the order given, filled up with zeros to `length`."""
    length = len(slices) if length is None else length
    image = np.zeros((length, size, size, 1), np.float32)
    mask = np.zeros((length, size, size), np.uint8)
    for volume in dict.fromkeys(volume for volume, _ in slices):
        places = [i for i, (of, _) in enumerate(slices) if of == volume]
        numbers = [slices[i][1] for i in places]
        image[places] = load_images(shards, volume, numbers, size=size, spacing=spacing)
        mask[places] = load_masks(shards, volume, numbers, organ, size=size, spacing=spacing)
    return Examples(image, mask, np.arange(length) < len(slices))


def checked_shape(pool: Pool, shape: EpisodeShape) -> EpisodeShape:
    """Return the shape if the pool can fill it; refuse more shots than any draw could give."""
    for name in ("shots", "queries", "size", "support_patients", "query_patients"):
        if getattr(shape, name) < 1:
            raise BadInput(f"{name} {getattr(shape, name)} must be at least 1")
    if not 0 <= shape.negative_fraction < 1:
        raise BadInput(
            f"negative_fraction {shape.negative_fraction} must be at least 0 and below 1"
        )
    for entry in pool.entries:
        patients = max(1, min(shape.support_patients, len(entry.patients) - 1))
        most = sorted(slice_count({name: scans}) for name, scans in entry.patients.items())
        limit = sum(most[-patients:]) - (len(most) == 1)
        refuse_shots(entry, shape.shots, patients, limit)
    return shape


def refuse_shots(entry: Entry, shots: int, patients: int, limit: int) -> None:
    """Refuse more shots than slices in one line that names the organ, the patients and the
    limit."""
    if shots > limit:
        raise BadInput(
            f"{shots} shots asked, but of the {len(entry.patients)} patient(s) with {entry.organ} "
            f"in {entry.dataset}, {patients} can give at most {limit} slices: ask for at most "
            f"{limit} shots, for more support patients, or leave the organ out"
        )


def support_slices(
    rng: np.random.Generator, shards: Shards, entry: Entry, patient: str, shape: EpisodeShape
) -> list[Slice]:
    """Shuffle a patient's slices with the organ, those where it hardly shows at the task's size
    last."""
    volumes = {volume for volume, _ in entry.patients[patient]}
    shows = {volume: visible(shards, volume, entry.organ, shape) for volume in volumes}
    return sorted(shuffled(rng, labelled(entry, patient)), key=lambda at: not shows[at[0]][at[1]])


def visible(shards: Shards, volume: int, organ: str, shape: EpisodeShape) -> Bool[np.ndarray, " N"]:
    """Tell in which slices of a volume the organ still covers some pixels at the task's size."""
    scan = shards.volumes[volume]
    if shape.spacing is None:
        shrink = shape.size**2 / np.prod(sliced_shape(scan.grid)[1:])
    else:
        shrink = np.prod(millimeters(scan.grid)[1:]) / shape.spacing**2
    return scan.counts[organ] * shrink >= VISIBLE


def labelled(entry: Entry, patient: str) -> list[Slice]:
    """List a patient's slices that hold the organ."""
    return [(volume, int(n)) for volume, slices in entry.patients[patient] for n in slices]


def unlabelled(pool: Pool, entry: Entry, patient: str) -> list[Slice]:
    """List the slices without the organ of the scans that have it, but for those that are
    hidden."""
    return [
        (volume, int(n))
        for volume, _ in entry.patients[patient]
        for n in np.flatnonzero(pool.shards.volumes[volume].counts[entry.organ] == 0)
        if n not in pool.hidden.get(volume, ())
    ]


def round_robin(slices_by_patient: Sequence[Sequence[Slice]], count: int) -> list[Slice]:
    """Take `count` slices, one of each hand in turn; fewer when all hands are empty."""
    rounds = itertools.zip_longest(*slices_by_patient)
    return [card for cards in rounds for card in cards if card is not None][:count]


def random_stream(*numbers: int) -> np.random.Generator:
    """Make a generator that depends on these numbers alone."""
    return np.random.default_rng(np.random.SeedSequence(numbers))


def pick(rng: np.random.Generator, choices: Sequence):
    """Choose one, all alike."""
    return choices[rng.integers(len(choices))]


def shuffled(rng: np.random.Generator, choices: Sequence) -> list:
    """Return the choices in random order."""
    return [choices[i] for i in rng.permutation(len(choices))]
