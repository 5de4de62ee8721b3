"""Tasks of SSM-SAM (arXiv 2308.16466): chunks of neighbouring slices, of which one tells the others.

A chunk are `width` slices in a row, of those of one scan that hold the structure; its middle slice lends
its mask, the others are to be segmented. A task has some chunks to adapt to and others, of other patients
where there are any, to prove it on. No chunk crosses from one scan into another.
"""

from collections.abc import Sequence

import numpy as np

from jaxmeta.errors import BadInput
from jaxmeta.tasks.episodes import (
    Episode,
    EpisodeShape,
    Slice,
    load_examples,
    pick,
    random_stream,
    shuffled,
)
from jaxmeta.tasks.split import Entry, Pool
from jaxmeta.tasks.task import Examples, Task


def chunks_of_scan(
    volume: int, slices: Sequence[int] | np.ndarray, width: int, *, stride: int
) -> list[tuple[Slice, ...]]:
    """Cut the slices of a scan into chunks of `width`, each `stride` further; the lender comes first.

    A last chunk that is shorter begins earlier instead. Where the scan has fewer slices than a chunk,
    the lender stands in for those that lack.
    """
    slices = sorted(int(n) for n in slices)
    last = max(0, len(slices) - width)
    found = []
    for start in dict.fromkeys(min(at, last) for at in range(0, len(slices), stride)):
        chunk = slices[start : start + width]
        lender = chunk.pop(len(chunk) // 2)
        chunk = [lender, *chunk] + [lender] * (width - 1 - len(chunk))
        found.append(tuple((volume, n) for n in chunk))
    return found


def chunks_of_patient(entry: Entry, patient: str, width: int, stride: int) -> list:
    """Cut all scans of a patient."""
    return [
        chunk
        for volume, slices in entry.patients[patient]
        for chunk in chunks_of_scan(volume, slices, width, stride=stride)
    ]


def draw_chunks(
    pool: Pool, shape: EpisodeShape, width: int, stride: int, seed: int, index: int
) -> Episode:
    """Draw data set and organ, and `shots` chunks to adapt to, `queries` to prove it on.

    Both are of different patients, half of them each, or of different chunks of one. Where there are
    too few, some come again.
    """
    rng = random_stream(seed, index, 0)
    dataset = pick(rng, sorted({entry.dataset for entry in pool.entries}))
    number = pick(rng, [n for n, e in enumerate(pool.entries) if e.dataset == dataset])
    entry = pool.entries[number]
    names = shuffled(rng, sorted(entry.patients))
    half = (len(names) + 1) // 2
    sides = (names[:half], names[half:]) if len(names) > 1 else (names, names)
    every = [
        shuffled(rng, [c for name in side for c in chunks_of_patient(entry, name, width, stride)])
        for side in sides
    ]
    if len(names) == 1 and len(every[0]) > 1:
        cut = len(every[0]) // 2
        every = [every[0][:cut], every[0][cut:]]
    support, query = (
        [chunk for n in range(count) for chunk in some[n % len(some)]]
        for some, count in zip(every, (shape.shots, shape.queries), strict=True)
    )
    return Episode(entry.organ, entry.dataset, tuple(support), tuple(query), number)


def load_chunks(
    pool: Pool, shape: EpisodeShape, width: int, episode: Episode, seed: int, index: int
) -> Task:
    """Read what was drawn: of every chunk all slices but the lender, each `given` the lender's mask."""

    def load(slices: Sequence[Slice]) -> Examples:
        read = load_examples(
            pool.shards, episode.organ, slices, size=shape.size, spacing=shape.spacing
        )
        chunked = [leaf.reshape(-1, width, *leaf.shape[1:]) for leaf in read[:3]]
        image, mask, valid = (leaf[:, 1:].reshape(-1, *leaf.shape[2:]) for leaf in chunked)
        lent = np.repeat(chunked[1][:, 0], width - 1, axis=0)
        first = [slices[n - n % width] for n in range(len(slices)) if n % width]
        others = [slices[n] for n in range(len(slices)) if n % width]
        stands_in = np.array([a == b for a, b in zip(first, others, strict=True)])
        return Examples(image, mask, valid & ~stands_in, lent)

    return Task(
        load(episode.support),
        load(episode.query),
        random_stream(seed, index, 1).integers(2**32, size=2, dtype=np.uint32),
        np.asarray([index, episode.number], np.int32),
    )


def refuse_narrow(width: int, stride: int) -> None:
    """Refuse chunks that have nothing to segment, or do not move."""
    if width < 2 or stride < 1:
        raise BadInput(
            f"chunks of {width} slices, each {stride} further: 2 and 1 are the least of both"
        )
