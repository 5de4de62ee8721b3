"""A random anatomy in three dimensions, and the subjects who share it.

An anatomy says of every point of space which piece of the body it belongs to: nearest-seed cells
that pack the whole body, ellipsoids laid over them, of which some are shells around a core, a rim
under the skin, all bent by smoothed noise (SynthMorph, arXiv 2004.10282, found such shapes enough
for registration). It is a function, not an array, so any slice of any subject is read off it at any
resolution. A subject is a map into it: turned, scaled, shifted, bent, and with pieces of their own
size and place.

Coordinates are rows, columns and height, each from -1 to 1 over the field of view.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxmeta.cohorts.waves import Waves, cut, of_waves, value, waves

CELLS, ELLIPSOIDS, CORES = 24, 6, 3  # cores lie in the first ellipsoids, which become shells
PIECES = CELLS + ELLIPSOIDS + CORES  # then come
RIM, AIR = PIECES, PIECES + 1
LABELS = PIECES + 2


class Anatomy(NamedTuple):
    """What all subjects of a cohort share."""

    axes: Float[Array, "2"]  # half the body's extent along rows and columns
    corner: Float[Array, ""]  # exponent of the body's outline: 2 an ellipse, more a box
    outline: Waves  # what the outline differs by
    rim: Float[Array, ""]  # its thickness
    bend: Waves
    cell_center: Float[Array, "C 3"]
    cell_scale: Float[Array, "C 3"]
    cell_weight: Float[Array, " C"]
    center: Float[Array, "E 3"]
    radius: Float[Array, "E 3"]
    core: Float[Array, " K"]  # radius of a core, as a part of its ellipsoid's


class Subject(NamedTuple):
    """How one subject differs from the anatomy."""

    turn: Float[Array, ""]  # radians, in the slices' plane
    scale: Float[Array, "3"]
    shift: Float[Array, "3"]
    bend: Waves
    moved: Float[Array, "S 3"]  # each cell's, then each ellipsoid's center
    grown: Float[Array, " S"]  # likewise: a factor on its size


def random_anatomy(key: Array) -> Anatomy:
    """Draw what a cohort shares."""
    some, others = jax.random.split(key)
    outline, bend, scale, weight = cut(
        jax.random.normal, some, of_waves(1), of_waves(3), (CELLS, 3), (CELLS,)
    )
    axes, corner, rim, cells, centers, radius, core = cut(
        jax.random.uniform,
        others,
        (2,),
        (),
        (),
        (CELLS, 3),
        (ELLIPSOIDS, 3),
        (ELLIPSOIDS, 3),
        (CORES,),
    )
    axes = 0.55 + 0.5 * axes
    box = jnp.concatenate([axes, jnp.ones(1)])[None]
    return Anatomy(
        axes,
        corner=2 + 1.5 * corner,
        outline=waves(outline, cycles=0.5, spread=0.07),
        rim=0.15 * rim,
        bend=waves(bend, cycles=0.6, spread=0.09),
        cell_center=0.95 * box * (2 * cells - 1),
        cell_scale=jnp.exp(0.3 * scale),
        cell_weight=0.04 * weight,
        center=0.65 * box * (2 * centers - 1),
        radius=(0.12 + 0.28 * radius) * jnp.array([[1.0, 1.0, 1.6]]),
        core=0.5 + 0.3 * core,
    )


def random_subject(key: Array) -> Subject:
    """Draw one subject of a cohort."""
    some, others = jax.random.split(key)
    seeds = CELLS + ELLIPSOIDS
    bend, moved, grown = cut(jax.random.normal, some, of_waves(3), (seeds, 3), (seeds,))
    turn, scale, shift = cut(jax.random.uniform, others, (), (3,), (3,))
    return Subject(
        turn=0.3 * (turn - 0.5),
        scale=jnp.exp(0.24 * (scale - 0.5)),
        shift=0.2 * (shift - 0.5),
        bend=waves(bend, cycles=0.5, spread=0.035),
        moved=0.03 * moved,
        grown=jnp.exp(0.1 * grown),
    )


def label(anatomy: Anatomy, subject: Subject, points: Float[Array, "P 3"]) -> Integer[Array, " P"]:
    """Say which piece of a subject lies at each point: a cell, an ellipsoid, a core, RIM or AIR."""
    here = placed(subject, points)
    outline = inside(anatomy, here)
    rows, columns, height = (here + value(anatomy.bend, here)).T
    moved = jnp.split(subject.moved, [CELLS])
    grown = jnp.split(subject.grown, [CELLS])

    def apart_from(center, scale):
        r, c, h = (rows - center[0], columns - center[1], height - center[2])
        return (r * scale[0]) ** 2 + (c * scale[1]) ** 2 + (h * scale[2]) ** 2

    def nearer(best, cell):
        number, center, scale, weight = cell
        apart = apart_from(center, scale) - weight
        return (jnp.minimum(best[0], apart), jnp.where(apart < best[0], number, best[1])), None

    def laid_over(found, ellipsoid):
        number, center, scale, core = ellipsoid
        apart = apart_from(center, scale)
        found = jnp.where(apart < 1, CELLS + number, found)
        return jnp.where(apart < core**2, CELLS + ELLIPSOIDS + number, found), None

    # loops over the few pieces, each over all points: no array of both, and little to compile
    none = jnp.full(len(points), jnp.inf), jnp.zeros(len(points), jnp.int32)
    cell_scale = anatomy.cell_scale / grown[0][:, None]
    cells = jnp.arange(CELLS), anatomy.cell_center + moved[0], cell_scale, anatomy.cell_weight
    (_, found), _ = jax.lax.scan(nearer, none, cells)
    scale = 1 / (anatomy.radius * grown[1][:, None])
    core = jnp.concatenate([anatomy.core, jnp.zeros(ELLIPSOIDS - CORES)])
    ellipsoids = jnp.arange(ELLIPSOIDS), anatomy.center + moved[1], scale, core
    found, _ = jax.lax.scan(laid_over, found, ellipsoids)
    found = jnp.where(outline < anatomy.rim, RIM, found)
    return jnp.where(outline < 0, AIR, found)


def placed(subject: Subject, points: Float[Array, "P 3"]) -> Float[Array, "P 3"]:
    """Map points of a subject's field of view to where they lie in the anatomy."""
    cos, sin = jnp.cos(subject.turn), jnp.sin(subject.turn)
    rows, columns, height = points.T
    turned = jnp.stack([cos * rows - sin * columns, sin * rows + cos * columns, height], axis=1)
    return turned * subject.scale[None] + subject.shift[None] + value(subject.bend, points)


def inside(anatomy: Anatomy, points: Float[Array, "P 3"]) -> Float[Array, " P"]:
    """Say how deep points lie in the body, as a part of its radius; below 0 they lie outside."""
    # never 0, where a root has no derivative and a power no gradient
    ratio = jnp.abs(points[:, :2] / anatomy.axes[None]) + 1e-6
    radius = (ratio**anatomy.corner).sum(1) ** (1 / anatomy.corner)
    return 1 - radius + value(anatomy.outline, points)[:, 0]
