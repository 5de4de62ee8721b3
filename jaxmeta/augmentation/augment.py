"""Augmentation on the device, a pure function of the task and its key.

What is drawn once for the whole task (flips, another pose, another form, inversion of contrast)
makes another structure or another protocol of it; what is drawn for each image (a small affine map,
a smooth bend, gain, offset, noise) makes another patient. Support and query always agree on what
the structure is. How slices are moved is in `warps.py`.
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from jaxmeta.augmentation.warps import Pose, combine, pose, warp
from jaxmeta.options import options
from jaxmeta.tasks.task import Examples, Task

KNOTS = np.arange(-3, 4, dtype=np.float32)  # of an intensity curve


@options
class Augmentation:
    """How much of each change; 0 switches one off. Intensities are in normalized units."""

    flip: float = 0.5
    """Probability of a mirror image, along rows and along columns, of the whole task."""
    invert: float = 0.0
    """Probability of inverted contrast, of the whole task."""
    curve: float = 0.0
    """Standard deviation of the bends of an intensity curve, of the whole task: another
    contrast."""
    task_rotate: float = 0.0
    """Largest turn of the whole task, degrees either way."""
    task_zoom: float = 0.0
    """Largest relative change of size of the whole task, up or down."""
    task_shift: float = 0.0
    """Largest shift of the whole task, in sides of the slice, either way."""
    task_elastic: float = 0.0
    """Standard deviation of a smooth displacement of the whole task, in sides of the slice."""
    rotate: float = 10.0
    """Largest turn of an image, degrees either way."""
    zoom: float = 0.1
    """Largest relative change of size of an image, either way."""
    shift: float = 0.04
    """Largest shift of an image, in sides of the slice, either way."""
    elastic: float = 0.0
    """Standard deviation of an image's smooth displacement, in sides of the slice: 0.02 is plain to
    see. Nothing is folded while it and --augment.task-elastic together are at most 0.1 /
    --augment.elastic-cells."""
    gain: float = 0.1
    """Standard deviation of an image's relative change of contrast."""
    offset: float = 0.1
    """Standard deviation of an image's change of brightness."""
    noise: float = 0.05
    """Standard deviation of pixel noise."""
    elastic_cells: int = 4
    """Cells of the control grid along each side; fewer bend more smoothly."""


def upright(how: Augmentation, strength: float = 1.0) -> Augmentation:
    """Keep the changes of single images, `strength` times as large: what patients differ by."""
    kept = ("rotate", "zoom", "shift", "elastic", "gain", "offset", "noise")
    changes = {name: strength * getattr(how, name) for name in kept}
    return Augmentation(flip=0.0, elastic_cells=how.elastic_cells, **changes)


def varied(loss: Callable, how: Augmentation) -> Callable:
    """Make loss(variables, examples, key) see its examples changed anew by each key."""

    def changed(variables, examples: Examples, key):
        change, walk = jax.random.split(key)
        task = Task(examples, examples, jax.random.key_data(change), ())
        return loss(variables, augment(task, how).support, walk)

    return changed


def augment(task: Task, how: Augmentation) -> Task:
    """Change a task as `how` says; the same key gives the same change.

    The key is used up: who wants more of a task's randomness splits it before.
    """
    mirrored, posed, bent, inverted, support, query = jax.random.split(
        jax.random.wrap_key_data(task.key), 6
    )
    of_tasks = how.task_rotate, how.task_zoom, how.task_shift, how.task_elastic
    of_images = how.rotate, how.zoom, how.shift, how.elastic
    of_task = pose(posed, *of_tasks, cells=how.elastic_cells)
    mirrors = jax.random.bernoulli(mirrored, how.flip, (2,))
    sign = jnp.where(jax.random.bernoulli(inverted, how.invert), -1.0, 1.0)
    by = curve(bent, how.curve) if how.curve else None

    def change(examples: Examples, key) -> Examples:
        moved, seen = jax.random.split(key)
        count = examples.image.shape[0]
        image, mask, prompt = examples.image, examples.mask, examples.prompt
        # a mask, or maps: they move as the image does, and are not recolored
        given = getattr(prompt, "shape", ())[:3] == mask.shape
        if any((*of_tasks, *of_images)):
            each = partial(pose, cells=how.elastic_cells)
            keys = jax.random.split(moved, count)
            to = jax.vmap(lambda key: combine(of_task, each(key, *of_images)))(keys)
            if given:
                prompt = moved_along(image, prompt, to)
            image, mask = jax.vmap(warp)(image, mask, to)
        image, mask = flip(image, mirrors), flip(mask, mirrors)
        if given:
            prompt = flip(prompt, mirrors)
        if by is not None:
            image = bend(image, by)
        keys = jax.random.split(seen, count)
        image = jax.vmap(lambda i, k: recolor(i, k, how))(sign * image, keys)
        return examples._replace(image=image, mask=mask, prompt=prompt)

    return task._replace(support=change(task.support, support), query=change(task.query, query))


def moved_along(image: Array, prompt: Array, to: Pose) -> Array:
    """Warp what is given beside slices: a mask as masks, maps as images."""
    if prompt.ndim == image.ndim:
        return jax.vmap(warp)(prompt, prompt[..., 0], to)[0]
    return jax.vmap(warp)(image, prompt, to)[1]


def flip(slices: Array, mirrors: Bool[Array, "2"]) -> Array:
    """Mirror all slices alike along rows, along columns, both or neither."""
    for axis in (1, 2):
        slices = jnp.where(mirrors[axis - 1], jnp.flip(slices, axis), slices)
    return slices


def curve(key: Array, spread: float) -> Float[Array, " K"]:
    """Draw where a random curve sends intensities: each knot is moved by a normal deviate.

    Knots are one unit apart, from -3 to 3; tissues may trade places.
    """
    return KNOTS + spread * jax.random.normal(key, KNOTS.shape)


def bend(image: Array, by: Float[Array, " K"]) -> Array:
    """Send intensities through a curve: straight lines between its knots."""
    return jnp.interp(image, jnp.asarray(KNOTS), by)


def recolor(image: Float[Array, "H W C"], key: Array, how: Augmentation) -> Float[Array, "H W C"]:
    """Change contrast and brightness of one slice, and add noise."""
    gain, offset, noise = jax.random.split(key, 3)
    image = image * (1 + how.gain * jax.random.normal(gain))
    image = image + how.offset * jax.random.normal(offset)
    return image + how.noise * jax.random.normal(noise, image.shape)
