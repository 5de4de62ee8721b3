"""Tasks of MetaMedSeg (arXiv 2109.09734): the slices of one volume, or slices of a whole data set.

A volumetric task is every kept slice of one patient's scan, in order, evenly strided where there
are too many: what a radiologist would have in hand. The standard task that it is compared with
draws its slices from all patients of the structure, with replacement. Structures are drawn by their
weights. The query are held-out slices, to watch and to weigh tasks by; nothing is learned from
them.
"""

import math
from collections.abc import Mapping

import numpy as np

from jaxmeta.data.shards.shards import Shards, holders
from jaxmeta.errors import BadInput
from jaxmeta.splits.pool import Entry, Pool
from jaxmeta.splits.split import Split
from jaxmeta.tasks.episodes import (
    Episode,
    EpisodeShape,
    Slice,
    labelled,
    load_examples,
    pick,
    random_stream,
    shuffled,
)
from jaxmeta.tasks.task import Examples


def draw_volume(pool: Pool, shape: EpisodeShape, seed: int, index: int) -> Episode:
    """Draw a structure by weight, a patient who has it and one of his scans; take its slices in
    order.

    Of n slices every ceil(n / shots)-th is kept, `shape.shots` at most. The query slices are of
    other patients, where there are any.
    """
    rng = random_stream(seed, index, 0)
    number = draw_entry(rng, pool)
    entry = pool.entries[number]
    patient = pick(rng, sorted(entry.patients))
    volume, slices = pick(rng, entry.patients[patient])
    support = [(volume, int(n)) for n in strided(np.sort(slices), shape.shots)]
    query = held_out(rng, entry, patient, support, shape.queries)
    return Episode(entry.organ, entry.dataset, tuple(support), tuple(query), number)


def draw_pooled(pool: Pool, shape: EpisodeShape, seed: int, index: int) -> Episode:
    """Draw a structure by weight, and its slices from all patients alike, with replacement."""
    rng = random_stream(seed, index, 0)
    number = draw_entry(rng, pool)
    entry = pool.entries[number]
    every = [at for name in sorted(entry.patients) for at in labelled(entry, name)]
    support = [pick(rng, every) for _ in range(shape.shots)]
    left = [at for at in every if at not in set(support)]
    query = shuffled(rng, left)[: shape.queries]
    return Episode(entry.organ, entry.dataset, tuple(support), tuple(query), number)


def draw_entry(rng: np.random.Generator, pool: Pool) -> int:
    """Draw the number of an entry, by weight."""
    weights = np.array([entry.weight for entry in pool.entries])
    return int(rng.choice(len(weights), p=weights / weights.sum()))


def strided(slices: np.ndarray, most: int) -> np.ndarray:
    """Keep every ceil(n / most)-th slice."""
    return slices[:: math.ceil(len(slices) / most)]


def held_out(
    rng: np.random.Generator, entry: Entry, patient: str, support: list[Slice], count: int
) -> list[Slice]:
    """Draw slices of other patients; of the patient's own that are not in the support, if he is
    alone."""
    others = [name for name in sorted(entry.patients) if name != patient]
    left = [at for name in others or [patient] for at in labelled(entry, name)]
    return shuffled(rng, [at for at in left if at not in support])[:count]


def with_pixels(pool: Pool, least: int | Mapping[int, int]) -> Pool:
    """Keep of each entry the slices with at least so many pixels of the structure, at native
    resolution.

    `least` is one number for all, or one for each entry by its number. Patients and entries without
    such a slice are left out.
    """
    entries = []
    for number, entry in enumerate(pool.entries):
        limit = least if isinstance(least, int) else least[number]
        patients = {name: kept(pool, entry, scans, limit) for name, scans in entry.patients.items()}
        patients = {name: scans for name, scans in patients.items() if scans}
        if patients:
            entries.append(entry._replace(patients=patients))
    return pool._replace(entries=tuple(entries))


def kept(pool: Pool, entry: Entry, scans: list, limit: int) -> list:
    """Keep the slices of a patient's scans that hold enough of the structure."""
    enough = [
        (volume, [n for n in slices if pool.shards.volumes[volume].counts[entry.organ][n] >= limit])
        for volume, slices in scans
    ]
    return [(volume, slices) for volume, slices in enough if slices]


def target_slices(shards: Shards, split: Split, count: int, *, seed: int = 1) -> list[tuple]:
    """Draw labelled slices of the organs under test from patients of the training side: a leak.

    MetaMedSeg's rule `target_validation` looks at ten such slices. Returns (organ, slices) of each
    test organ that somebody on that side has, in equal numbers. Raises BadInput where nobody has
    any.
    """
    rng, there = random_stream(seed), {}
    for organ in split.test_organs:
        scans = [
            (volume, int(n))
            for patient, held in sorted(holders(shards, organ).items())
            if patient in set(split.train_patients)
            for volume, slices in held
            for n in slices
        ]
        if scans:
            there[organ] = shuffled(rng, scans)
    if not there:
        raise BadInput(
            f"no patient of the training side has {' or '.join(split.test_organs)}, whose slices "
            "the rule target looks at: name fewer `test_patients`, or choose another rule"
        )
    shares = np.array_split(np.arange(count), len(there))
    return [
        (organ, scans[: len(share)])
        for (organ, scans), share in zip(there.items(), shares, strict=True)
    ]


def load_target(
    shards: Shards, chosen: list[tuple], count: int, *, size: int, spacing: float | None
) -> Examples:
    """Read what `target_slices` chose, filled up to `count` slices."""
    parts = [load_examples(shards, o, s, size=size, spacing=spacing) for o, s in chosen]
    empty = load_examples(
        shards, "", [], count - sum(map(len, (s for _, s in chosen))), size=size, spacing=spacing
    )
    return Examples(*(np.concatenate(leaves) for leaves in zip(*(p[:3] for p in [*parts, empty]))))


def balanced(pool: Pool) -> Pool:
    """Weigh entries so that every data set is drawn alike, and every entry of one data set."""
    sizes = {}
    for entry in pool.entries:
        sizes[entry.dataset] = sizes.get(entry.dataset, 0) + 1
    return pool._replace(
        entries=tuple(entry._replace(weight=1 / sizes[entry.dataset]) for entry in pool.entries)
    )
