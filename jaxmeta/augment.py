"""Augmentation on the device, a pure function of the task and its key.

What is drawn once for the whole task (flips, another pose, inversion of contrast) makes another
structure or another protocol of it; what is drawn for each image (a small affine map, gain, offset,
noise) makes another patient. Support and query always agree on what the structure is.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

from jaxmeta.tasks.task import Examples, Task


@dataclass(frozen=True)
class Augmentation:
    """How much of each change; 0 switches one off. Intensities are in normalised units."""

    flip: float = 0.5
    """Probability of a mirror image, along rows and along columns, of the whole task."""
    invert: float = 0.0
    """Probability of inverted contrast, of the whole task."""
    curve: float = 0.0
    """Standard deviation of the bends of an intensity curve, of the whole task: another contrast."""
    task_rotate: float = 0.0
    """Largest turn of the whole task, degrees either way."""
    task_zoom: float = 0.0
    """Largest relative change of size of the whole task, up or down."""
    task_shift: float = 0.0
    """Largest shift of the whole task, in sides of the slice, either way."""
    rotate: float = 10.0
    """Largest turn of an image, degrees either way."""
    zoom: float = 0.1
    """Largest relative change of size of an image, either way."""
    shift: float = 0.04
    """Largest shift of an image, in sides of the slice, either way."""
    gain: float = 0.1
    """Standard deviation of an image's relative change of contrast."""
    offset: float = 0.1
    """Standard deviation of an image's change of brightness."""
    noise: float = 0.05
    """Standard deviation of pixel noise."""


def upright(how: Augmentation, strength: float = 1.0) -> Augmentation:
    """Keep the changes of single images, `strength` times as large: what patients differ by."""
    kept = ("rotate", "zoom", "shift", "gain", "offset", "noise")
    return Augmentation(flip=0.0, **{name: strength * getattr(how, name) for name in kept})


def varied(loss: Callable, how: Augmentation) -> Callable:
    """Make loss(variables, examples, key) see its examples changed anew by each key."""

    def changed(variables, examples: Examples, key):
        change, walk = jax.random.split(key)
        task = Task(examples, examples, jax.random.key_data(change), ())
        return loss(variables, augment(task, how).support, walk)

    return changed


def augment(task: Task, how: Augmentation) -> Task:
    """Change a task as `how` says; the same key gives the same change."""
    shared, support, query = jax.random.split(
        jax.random.fold_in(jax.random.wrap_key_data(task.key), 1), 3
    )
    of_tasks = how.task_rotate, how.task_zoom, how.task_shift
    of_images = how.rotate, how.zoom, how.shift
    of_task = pose(jax.random.fold_in(shared, 4), *of_tasks)

    def change(examples: Examples, key) -> Examples:
        keys = jax.random.split(key, examples.image.shape[0])
        image, mask = examples.image, examples.mask
        if any((*of_tasks, *of_images)):

            def move(image, mask, key):
                return warp(image, mask, combine(of_task, pose(key, *of_images)))

            image, mask = jax.vmap(move)(image, mask, keys)
        image, mask = flip(image, mask, shared, how.flip)
        sign = jnp.where(jax.random.bernoulli(jax.random.fold_in(shared, 2), how.invert), -1.0, 1.0)
        if how.curve:
            image = bend(image, jax.random.fold_in(shared, 3), how.curve)
        image = jax.vmap(lambda i, k: recolour(i, k, how))(sign * image, keys)
        return examples._replace(image=image, mask=mask)

    return task._replace(support=change(task.support, support), query=change(task.query, query))


def flip(image: Array, mask: Array, key: Array, chance: float) -> tuple[Array, Array]:
    """Mirror all slices alike along rows and columns, each with its own chance."""
    for axis in (1, 2):
        mirrored = jax.random.bernoulli(jax.random.fold_in(key, axis - 1), chance)
        image = jnp.where(mirrored, jnp.flip(image, axis), image)
        mask = jnp.where(mirrored, jnp.flip(mask, axis), mask)
    return image, mask


class Pose(NamedTuple):
    """Where a slice lies: turned (radians), enlarged (above 1), then shifted (in its sides)."""

    angle: Float[Array, ""]
    scale: Float[Array, ""]
    shift: Float[Array, "2"]


def pose(key: Array, rotate: float, zoom: float, shift: float) -> Pose:
    """Draw a pose: turned up to `rotate` degrees, larger or smaller by up to `zoom`, shifted."""
    turned, zoomed, shifted = jax.random.split(key, 3)
    return Pose(
        jnp.deg2rad(rotate) * jax.random.uniform(turned, (), minval=-1, maxval=1),
        (1 + zoom) ** jax.random.uniform(zoomed, (), minval=-1, maxval=1),
        shift * jax.random.uniform(shifted, (2,), minval=-1, maxval=1),
    )


def combine(one: Pose, other: Pose) -> Pose:
    """Put two poses together."""
    return Pose(one.angle + other.angle, one.scale * other.scale, one.shift + other.shift)


def warp(
    image: Float[Array, "H W C"], mask: Array, to: Pose
) -> tuple[Float[Array, "H W C"], Array]:
    """Map one slice about its centre: linear image, its edge repeated outside; nearest mask, 0 outside."""
    height, width = mask.shape
    rows = jnp.arange(height)[:, None] - (height - 1) / 2 - to.shift[0] * height
    columns = jnp.arange(width)[None] - (width - 1) / 2 - to.shift[1] * width
    cos, sin = jnp.cos(to.angle) / to.scale, jnp.sin(to.angle) / to.scale
    where = [
        cos * rows - sin * columns + (height - 1) / 2,
        sin * rows + cos * columns + (width - 1) / 2,
    ]

    def linear(channel):
        return map_coordinates(channel, where, order=1, mode="nearest")

    moved = jnp.stack([linear(image[..., c]) for c in range(image.shape[-1])], axis=-1)
    return moved, map_coordinates(mask, where, order=0, mode="constant", cval=0)


def bend(image: Array, key: Array, spread: float) -> Array:
    """Send intensities through a random curve: straight lines between knots one unit apart.

    Each knot of the identity from -3 to 3 is moved by a normal deviate; tissues may trade places.
    """
    knots = jnp.arange(-3.0, 4.0)
    return jnp.interp(image, knots, knots + spread * jax.random.normal(key, knots.shape))


def recolour(image: Float[Array, "H W C"], key: Array, how: Augmentation) -> Float[Array, "H W C"]:
    """Change contrast and brightness of one slice, and add noise."""
    gain, offset, noise = jax.random.split(jax.random.fold_in(key, 1), 3)
    image = image * (1 + how.gain * jax.random.normal(gain))
    image = image + how.offset * jax.random.normal(offset)
    return image + how.noise * jax.random.normal(noise, image.shape)
