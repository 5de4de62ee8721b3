"""Tasks without labels: a supervoxel of one scan, in a slice and its neighbors.

As self-supervised few-shot segmentation trains (Ouyang et al. 2020, arXiv 2007.09886): the support
shows a piece of a scan, the query the same or adjacent slices of it, and augmentation changes every
image in its own way, so that what is learned is to find again what looks alike. The pieces come
from prepared data; nobody's labels are read.
"""

import numpy as np

from jaxmeta.data.shards.shards import Shards
from jaxmeta.errors import BadInput
from jaxmeta.splits.pool import Entry, Pool
from jaxmeta.splits.split import Split
from jaxmeta.tasks.episodes import Episode, EpisodeShape, pick, random_stream, shuffled


def unlabelled_pool(
    shards: Shards, split: Split, hidden: dict[int, frozenset[int]] | None = None
) -> Pool:
    """Gather the scans of training patients that have supervoxels: an entry a data set and kind of
    image.

    Raises BadInput where none has.
    """
    hidden, training, entries = hidden or {}, set(split.train_patients), {}
    for number, volume in enumerate(shards.volumes):
        if volume.patient not in training or not volume.supervoxels:
            continue
        slices = np.flatnonzero(sum(volume.supervoxels.values()))
        seen = [int(n) for n in slices if n not in hidden.get(number, ())]
        if seen:
            kind = volume.dataset, volume.modality, volume.channel or ""
            entries.setdefault(kind, {}).setdefault(volume.patient, []).append((number, seen))
    if not entries:
        raise BadInput(
            f"no supervoxels of training patients in {' '.join(shards.folders)}: prepare the data "
            "with `supervoxels=200`"
        )
    return Pool(
        shards,
        tuple(
            Entry(dataset, "supervoxels", patients, modality, channel or None)
            for (dataset, modality, channel), patients in sorted(entries.items())
        ),
        hidden,
    )


def draw_supervoxel(pool: Pool, least: int, shape: EpisodeShape, seed: int, index: int) -> Episode:
    """Draw data set, patient, scan and one of its pieces that has `least` pixels in some slice.

    The support is a run of its slices, those of the query the same or the next on either side.
    """
    rng = random_stream(seed, index, 0)
    dataset = pick(rng, sorted({entry.dataset for entry in pool.entries}))
    number = pick(rng, [n for n, e in enumerate(pool.entries) if e.dataset == dataset])
    entry = pool.entries[number]
    volume, seen = pick(rng, entry.patients[pick(rng, sorted(entry.patients))])
    pieces = pool.shards.volumes[volume].supervoxels
    large = [name for name in sorted(pieces) if (pieces[name][seen] >= least).any()]
    piece = pick(rng, large or [name for name in sorted(pieces) if pieces[name][seen].any()])
    held = [n for n in seen if pieces[piece][n] >= min(least, pieces[piece][seen].max())]
    start = int(rng.integers(max(1, len(held) - shape.shots + 1)))
    support = held[start : start + shape.shots]
    near = [n for n in held if min(abs(n - s) for s in support) <= 1]
    query = [n for _ in range(shape.queries) for n in shuffled(rng, near)][: shape.queries]
    return Episode(
        piece,
        dataset,
        tuple((volume, n) for n in support),
        tuple((volume, n) for n in query),
        number,
    )
