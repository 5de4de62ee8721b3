"""A few-shot task of a synthetic cohort, as a pure function of (seed, index).

Two subjects share an anatomy and its contrast. One gives the support: K slices with the mask of one
organ; the other the query, some of whose slices lack the organ. Nothing is read and no state is
kept, so the same numbers are the same task on any host, and a device makes its own tasks under
`jit` and `vmap`. As cohorts of real label maps do in SynthICL (arXiv 2509.19711), each task asks
for another structure: a network that does not look at its support learns nothing from them.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, UInt32

from jaxmeta.cohorts.anatomy import (
    PIECES,
    Anatomy,
    Subject,
    label,
    random_anatomy,
    random_subject,
)
from jaxmeta.cohorts.appearance import (
    is_organ,
    random_acquisition,
    random_contrast,
    shown,
)
from jaxmeta.tasks.task import Examples, Task

HEIGHTS = 24  # slices of a subject, of which a task shows some
COARSE = 16  # rows and columns at which organs are looked for
LEAST = 2  # coarse pixels of the organ in a slice that an annotator would choose
EXTENT = 3  # slices in which an organ must be plain to see, in both subjects


class CohortShape(NamedTuple):
    """How large a task is; the same for every task of a run, so that one program fits all."""

    shots: int
    """Labelled support slices."""
    queries: int
    """Query slices."""
    size: int
    """Rows and columns."""
    negative_fraction: float = 0.25
    """Share of query slices without the organ."""
    unknown: float = 0.1
    """Share of tasks that do not say how high their slices lie."""


def synthesize(seed: int | Array, index: int | Array, shape: CohortShape) -> Task:
    """Make task `index` of a seed.

    The prompt of its examples is each slice's relative height [N], 0 in the first slice of its
    scan and 1 in the last; -1 where a task does not say it. Support slices are sorted by height and
    all show the organ; of an organ in fewer than `shots` slices the rest is not valid.
    """
    drawn = jax.random.fold_in(jax.random.key(seed), index)
    made, own = jax.random.split(drawn)
    support, query = cohort_task(made, shape)
    number = jnp.stack([jnp.asarray(index, jnp.int32), jnp.zeros((), jnp.int32)])
    return Task(support, query, raw(own), number)


def raw(key: Array) -> UInt32[Array, "2"]:
    """Make the raw key that a task carries of a typed one."""
    return jax.random.key_data(key)


def cohort_task(key: Array, shape: CohortShape) -> tuple[Examples, Examples]:
    """Draw a cohort, two subjects, an organ that both show, and the slices of it."""
    keys = iter(jax.random.split(key, 9))
    anatomy, contrast = random_anatomy(next(keys)), random_contrast(next(keys))
    subjects = jax.vmap(random_subject)(jax.random.split(next(keys)))
    areas = jax.vmap(lambda subject: organ_areas(anatomy, subject, shape.size))(subjects)
    organ = chosen_organ(next(keys), areas, is_organ(contrast))
    area = areas[:, organ]
    at, valid = support_slices(next(keys), area[0], shape.shots)
    asked = query_slices(next(keys), area[1], shape)

    scans = jax.vmap(lambda key: random_acquisition(key, contrast))(jax.random.split(next(keys)))
    told = jax.random.bernoulli(next(keys), 1 - shape.unknown)

    pixels = (2, shape.shots + shape.queries, shape.size, shape.size)
    deviates = jax.random.normal(next(keys), pixels)

    def examples(number, slices, valid, deviates) -> Examples:
        subject, scan = jax.tree.map(lambda a: a[number], (subjects, scans))
        points = grid(shape.size, slices)
        labels = label(anatomy, subject, points.reshape(-1, 3)).reshape(points.shape[:3])
        image = shown(contrast, scan, labels, points, deviates) * valid[:, None, None]
        mask = ((labels == organ) & valid[:, None, None]).astype(jnp.uint8)
        return Examples(image[..., None], mask, valid, jnp.where(told, relative(slices), -1.0))

    asked_valid = jnp.ones(shape.queries, bool)
    support = examples(0, at, valid, deviates[:, : shape.shots])
    return support, examples(1, asked, asked_valid, deviates[:, shape.shots :])


def organ_areas(anatomy: Anatomy, subject: Subject, size: int) -> Integer[Array, "P Z"]:
    """Count the coarse pixels of each piece in every slice of a subject.

    They are some of the pixels that a task of this size shows, so none is counted in vain.
    """
    stride = max(1, size // COARSE)
    points = grid(size, jnp.arange(HEIGHTS))[:, stride // 2 :: stride, stride // 2 :: stride]
    found = label(anatomy, subject, points.reshape(-1, 3)).reshape(HEIGHTS, -1)
    return (found[None] == jnp.arange(PIECES)[:, None, None]).sum(-1)


def chosen_organ(
    key: Array, areas: Integer[Array, "2 P Z"], allowed: Bool[Array, " P"]
) -> Integer[Array, ""]:
    """Choose a piece that both subjects show plainly, all alike; where there is none, the one that
    they show best."""
    extent = (areas >= LEAST).sum(-1).min(0) * allowed
    among = jnp.where(extent >= EXTENT, 0.0, extent - 1e3)
    return jax.random.categorical(key, among)


def support_slices(
    key: Array, area: Integer[Array, " Z"], count: int
) -> tuple[Integer[Array, " K"], Bool[Array, " K"]]:
    """Choose slices in which the organ is plain to see, one at random of each of K parts of its
    extent; those that would come twice are not valid."""
    plain = area >= jnp.minimum(LEAST, area.max())
    slices = spread(key, plain, count)
    first = jnp.concatenate([jnp.ones(1, bool), slices[1:] != slices[:-1]])
    return slices, first


def query_slices(
    key: Array, area: Integer[Array, " Z"], shape: CohortShape
) -> Integer[Array, " Q"]:
    """Choose slices with the organ, then those without: as many as the shape's share, rounded up or
    down at random so that its mean is exact."""
    held, bare, rounding = jax.random.split(key, 3)
    share = shape.queries * shape.negative_fraction
    empty = jnp.floor(share + jax.random.uniform(rounding, ()))
    with_organ, without = area > 0, area == 0
    without = jnp.where(without.any(), without, with_organ)
    among = spread(held, with_organ, shape.queries), spread(bare, without, shape.queries)
    return jnp.where(jnp.arange(shape.queries) < shape.queries - empty, *among)


def spread(key: Array, among: Bool[Array, " Z"], count: int) -> Integer[Array, " K"]:
    """Choose `count` of the marked places, in order: one at random of each of as many parts."""
    order, total = jnp.argsort(~among, stable=True), among.sum()
    at = (jnp.arange(count) + jax.random.uniform(key, (count,))) / count
    return order[jnp.clip((at * total).astype(jnp.int32), 0, jnp.maximum(total - 1, 0))]


def relative(slices: Integer[Array, " N"]) -> Float[Array, " N"]:
    """Say how high slices lie in their scan: 0 the first, 1 the last."""
    return slices.astype(jnp.float32) / (HEIGHTS - 1)


def grid(size: int, slices: Integer[Array, " N"]) -> Float[Array, "N S S 3"]:
    """Give the coordinates of all pixels of slices, each from -1 to 1 over the field of view."""
    line = (2 * jnp.arange(size) + 1) / size - 1
    height = 2 * relative(slices) - 1
    shape = (len(slices), size, size)
    parts = height[:, None, None], line[None, :, None], line[None, None, :]
    z, rows, columns = (jnp.broadcast_to(part, shape) for part in parts)
    return jnp.stack([rows, columns, z], axis=-1)
