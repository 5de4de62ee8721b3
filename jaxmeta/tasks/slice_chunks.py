"""Tasks of SSM-SAM (arXiv 2308.16466): chunks of neighboring slices, of which one tells the
others.

A chunk are `width` slices in a row, of those of one scan that hold the structure; its middle slice
gives its mask, the others are to be segmented. A task has some chunks to adapt to and others, of
other patients where there are any, to prove it on. No chunk crosses from one scan into another.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float, Integer

from jaxmeta.data.shards.shards import Shards
from jaxmeta.errors import BadInput
from jaxmeta.splits.pool import Entry, Pool
from jaxmeta.tasks.episodes import (
    Episode,
    EpisodeShape,
    Slice,
    load_examples,
    pick,
    random_stream,
    shuffled,
    visible,
)
from jaxmeta.tasks.task import Examples, Task

Chunk = tuple[Slice, ...]  # the support slice comes first
Cut = Callable[[Entry, Sequence[str], int, int], list[Chunk]]  # (entry, patients, width, stride)


def chunked(slices: Sequence[Slice], width: int, stride: int) -> list[Chunk]:
    """Cut a row of slices into chunks of `width`, each `stride` further.

    A last chunk that is shorter begins earlier instead. Where there are fewer slices than a chunk
    has, the support slice stands in for those that lack.
    """
    last = max(0, len(slices) - width)
    found = []
    for start in dict.fromkeys(min(at, last) for at in range(0, len(slices), stride)):
        chunk = list(slices[start : start + width])
        support_slice = chunk.pop(len(chunk) // 2)
        found.append((support_slice, *chunk, *[support_slice] * (width - 1 - len(chunk))))
    return found


def showing(pool: Pool, shape: EpisodeShape) -> Pool:
    """Leave out slices whose structure hardly shows at the task's size: their masks tell nobody
    anything.

    Raises BadInput for a structure that then has no slice.
    """
    return pool._replace(entries=tuple(clear(pool.shards, entry, shape) for entry in pool.entries))


def clear(shards: Shards, entry: Entry, shape: EpisodeShape) -> Entry:
    """Keep of an entry the slices that show its structure, and whoever has any."""
    patients = {}
    for name, scans in entry.patients.items():
        shows = {volume: visible(shards, volume, entry.organ, shape) for volume, _ in scans}
        kept = [(volume, [n for n in slices if shows[volume][n]]) for volume, slices in scans]
        if kept := [(volume, slices) for volume, slices in kept if slices]:
            patients[name] = kept
    if not patients:
        raise BadInput(
            f"{entry.organ} of {entry.dataset} shows in no slice at {shape.size} pixels: give a "
            "larger `tasks.size`, or finer `tasks.spacing`"
        )
    return entry._replace(patients=patients)


def chunks_within(entry: Entry, patients: Sequence[str], width: int, stride: int) -> list[Chunk]:
    """Cut all scans of patients, each by itself."""
    return [
        chunk
        for patient in patients
        for volume, slices in entry.patients[patient]
        for chunk in chunked([(volume, int(n)) for n in sorted(slices)], width, stride)
    ]


def draw_chunks(
    pool: Pool,
    shape: EpisodeShape,
    width: int,
    stride: int,
    cut: Cut,
    seed: int,
    index: int,
) -> Episode:
    """Draw data set and organ, and `shots` chunks to adapt to, `queries` to prove it on.

    Both are of different patients, half of them each, or of different chunks of one. Where there
    are too few, some come again. `cut` makes chunks of patients' scans.
    """
    rng = random_stream(seed, index, 0)
    dataset = pick(rng, sorted({entry.dataset for entry in pool.entries}))
    number = pick(rng, [n for n, e in enumerate(pool.entries) if e.dataset == dataset])
    entry = pool.entries[number]
    names = shuffled(rng, sorted(entry.patients))
    half = (len(names) + 1) // 2
    sides = (names[:half], names[half:]) if len(names) > 1 else (names, names)
    every = [shuffled(rng, cut(entry, side, width, stride)) for side in sides]
    if len(names) == 1 and len(every[0]) > 1:
        middle = len(every[0]) // 2
        every = [every[0][:middle], every[0][middle:]]
    support, query = (
        [chunk for n in range(count) for chunk in some[n % len(some)]]
        for some, count in zip(every, (shape.shots, shape.queries), strict=True)
    )
    return Episode(entry.organ, entry.dataset, tuple(support), tuple(query), number)


def load_chunks(
    pool: Pool, shape: EpisodeShape, width: int, episode: Episode, seed: int, index: int
) -> Task:
    """Read what was drawn: of every chunk all slices but the support slice, each with the support
    slice's mask."""

    def load(slices: Sequence[Slice]) -> Examples:
        read = load_examples(
            pool.shards, episode.organ, slices, size=shape.size, spacing=shape.spacing
        )
        chunked = [leaf.reshape(-1, width, *leaf.shape[1:]) for leaf in read[:3]]
        image, mask, valid = (leaf[:, 1:].reshape(-1, *leaf.shape[2:]) for leaf in chunked)
        given = np.repeat(chunked[1][:, 0], width - 1, axis=0)
        first = [slices[n - n % width] for n in range(len(slices)) if n % width]
        others = shown_of(width, slices)
        stands_in = np.array([a == b for a, b in zip(first, others, strict=True)])
        return Examples(image, mask, valid & ~stands_in, given)

    return Task(
        load(episode.support),
        load(episode.query),
        random_stream(seed, index, 1).integers(2**32, size=2, dtype=np.uint32),
        np.asarray([index, episode.number], np.int32),
    )


def shown_of(width: int, slices: Sequence[Slice]) -> list[Slice]:
    """List the slices of chunks that are looked at: all but those that give."""
    return [at for place, at in enumerate(slices) if place % width]


def load_shown(
    pool: Pool,
    shape: EpisodeShape,
    width: int,
    clicks: int,
    episode: Episode,
    seed: int,
    index: int,
) -> Task:
    """Read one chunk as a new structure is met: the support slice with its mask is the support,
    the others the query.

    With `clicks` each slice of the query is given as many (x, y) on its own structure.
    """
    support_slice, *others = episode.query[:width]
    size = dict(size=shape.size, spacing=shape.spacing)
    support, query = (
        load_examples(pool.shards, episode.organ, slices, **size)
        for slices in ([support_slice], others)
    )
    stands_in = np.array([at == support_slice for at in others])
    rng = random_stream(seed, index, 2)
    prompt = np.stack([clicks_on(mask, clicks, rng) for mask in query.mask]) if clicks else ()
    return Task(
        support,
        query._replace(valid=query.valid & ~stands_in, prompt=prompt),
        random_stream(seed, index, 1).integers(2**32, size=2, dtype=np.uint32),
        np.asarray([index, episode.number], np.int32),
    )


def clicks_on(
    mask: Integer[np.ndarray, "H W"], count: int, rng: np.random.Generator
) -> Float[np.ndarray, "K 2"]:
    """Draw (x, y) of pixels of a structure, each as likely; of an empty mask, of the whole
    slice."""
    inside = np.argwhere(mask if mask.any() else np.ones_like(mask))
    return inside[rng.integers(len(inside), size=count), ::-1].astype(np.float32)


def refuse_narrow(width: int, stride: int) -> None:
    """Refuse chunks that have nothing to segment, or do not move."""
    if width < 2 or stride < 1:
        raise BadInput(
            f"chunks of {width} slices, each {stride} further: 2 and 1 are the least of both"
        )
