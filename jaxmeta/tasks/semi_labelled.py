"""Tasks of semi-supervised learning: slices of labelled patients beside slices whose labels were
made by a network.

The support are clean slices, drawn anew for every task; the query are slices of the unlabelled, in
the order of one shuffled pass after another, with initial labels as their masks. What the shards
know of the unlabelled beside their voxels is never read.
"""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby

import numpy as np

from jaxmeta.data.grid import sliced_shape
from jaxmeta.data.initial_labels import InitialLabels, load_initial
from jaxmeta.data.shards.load import load_images
from jaxmeta.data.shards.shards import Shards
from jaxmeta.errors import BadInput
from jaxmeta.splits.pool import Entry, Pool
from jaxmeta.tasks.episodes import (
    Episode,
    EpisodeShape,
    Slice,
    load_examples,
    random_stream,
    shuffled,
)
from jaxmeta.tasks.source import Source
from jaxmeta.tasks.task import Examples, Task


def semi_labelled(
    pool: Pool,
    shape: EpisodeShape,
    unlabelled: Sequence[Slice],
    labels: InitialLabels | None,
    *,
    stride: int = 1,
) -> Source:
    """Draw `shape.shots` clean slices of the pool's structure, with it or without, of every
    `stride`-th, and `shape.queries` unlabelled ones; without unlabelled slices the query stays
    empty.

    Raises BadInput where there are fewer slices than are wanted at once.
    """
    entry = pool.entries[0]
    scans = {n: None for each in pool.entries for n in scans_labelled(pool.shards, each)}
    clean = every_slice(pool.shards, scans, stride)
    for what, there, wanted in (
        ("labelled", clean, shape.shots),
        ("unlabelled", unlabelled, shape.queries if unlabelled else 0),
    ):
        if len(there) < wanted:
            raise BadInput(f"{wanted} {what} slices at once, and there are {len(there)} in all")
    draw = partial(draw_mixed, entry.organ, entry.dataset, clean, tuple(unlabelled), shape)
    return Source(pool, draw, partial(load_mixed, pool.shards, shape, labels))


def scans_labelled(shards: Shards, entry: Entry) -> Iterator[int]:
    """List the scans of an entry's patients whose labels name the structure, whether they show it
    or not."""
    for number, volume in enumerate(shards.volumes):
        same = volume.dataset, volume.modality, volume.channel
        if same == (entry.dataset, entry.modality, entry.channel):
            if volume.patient in entry.patients and entry.organ in volume.counts:
                yield number


def every_slice(shards: Shards, scans: Iterable[int], stride: int = 1) -> tuple[Slice, ...]:
    """List every `stride`-th slice of scans."""
    return tuple(
        (scan, at)
        for scan in scans
        for at in range(0, sliced_shape(shards.volumes[scan].grid)[0], stride)
    )


def draw_mixed(
    organ: str,
    dataset: str,
    clean: Sequence[Slice],
    unlabelled: Sequence[Slice],
    shape: EpisodeShape,
    seed: int,
    index: int,
) -> Episode:
    """Draw clean slices at random, without replacement; unlabelled ones come in passes, each in an
    order of its own."""
    rng = random_stream(seed, index, 0)
    support = [clean[n] for n in rng.permutation(len(clean))[: shape.shots]]
    query, wanted = [], range(index * shape.queries, (index + 1) * shape.queries)
    for number, asked in groupby(wanted if unlabelled else (), lambda at: at // len(unlabelled)):
        order = one_pass(unlabelled, seed, number)
        query += [order[at % len(unlabelled)] for at in asked]
    return Episode(organ, dataset, tuple(support), tuple(query), 0)


def one_pass(unlabelled: Sequence[Slice], seed: int, number: int) -> list[Slice]:
    """Order the unlabelled slices for a pass over all of them."""
    return shuffled(random_stream(seed, number, 2), unlabelled)


def load_mixed(
    shards: Shards,
    shape: EpisodeShape,
    labels: InitialLabels | None,
    episode: Episode,
    seed: int,
    index: int,
) -> Task:
    """Read what was drawn; the masks of the query are initial labels, its prompt how sure they
    are."""
    how = dict(size=shape.size, spacing=shape.spacing)
    query = empty(shape)
    for place, (volume, number) in enumerate(episode.query):
        query.image[place] = load_images(shards, volume, [number], **how)[0]
        mask, sure = load_initial(labels, shards, volume, [number], **how)
        query.mask[place], query.prompt[place, ..., 0], query.valid[place] = mask[0], sure[0], True
    return Task(
        load_examples(shards, episode.organ, episode.support, shape.shots, **how),
        query,
        random_stream(seed, index, 1).integers(2**32, size=2, dtype=np.uint32),
        np.asarray([index, episode.number], np.int32),
    )


def empty(shape: EpisodeShape) -> Examples:
    """Make a query of nothing."""
    square = (shape.queries, shape.size, shape.size)
    return Examples(
        np.zeros((*square, 1), np.float32),
        np.zeros(square, np.uint8),
        np.zeros(shape.queries, bool),
        np.zeros((*square, 1), np.float32),
    )
