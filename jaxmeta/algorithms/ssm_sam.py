"""Self-Sampling Meta SAM (Zhang, Leng, Han, Xie, WACV 2024, arXiv 2308.16466): its optimization.

A task is an organ, its slices are dealt into chunks of neighbors: of each chunk one slice gives
its mask, the others are segmented under that mask's halo. With theta adapters, sampler and decoder,
and the image encoder frozen:

    phi <- phi - alpha grad L_chunk(phi)      over all chunks of the support, several times
    meta_gradient = sum of grad L_chunk(phi)      over the query's chunks, at the phi where it ended

which is first-order MAML; `order=2` differentiates through the walk, and `learn_rate` learns alpha.
Online, a new structure's support slice is its own chunk: AdamW from theta, its rate a cosine to
nothing.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float, PyTree, Shaped

from jaxmeta.algorithms.algorithm import Algorithm, Meta
from jaxmeta.inner_loop.adapt import adapt, descend
from jaxmeta.inner_loop.plan import Plan, whole_support
from jaxmeta.inner_loop.rematerialise import REMAT, Memory
from jaxmeta.inner_loop.transforms import scale_by
from jaxmeta.losses.segmentation import hard_dice, wide
from jaxmeta.models.sam.adapters import Prefix, from_parts
from jaxmeta.models.sam.images import slices_as_colors
from jaxmeta.models.sam.simulate import drawn_on
from jaxmeta.models.ssm_sam.blur import halo
from jaxmeta.models.ssm_sam.network import SsmSam
from jaxmeta.numerics import maximum, typed_key
from jaxmeta.tasks.task import Examples, Task

POINTS_FROM = ("support", "clicks", "none")
FEW = 4  # slices that blocks before the first adapter look at together
MOST_KEPT = 2**24  # pixels of a task whose prefixes are kept: 0.6 GB of a ViT-B's


class Drawn(NamedTuple):
    """How many points are drawn on masks."""

    inner: int = 20
    outer: int = 5
    online: int = 3
    asked: int = 30  # when new slices are segmented


class Online(NamedTuple):
    """How a new structure is adapted to: AdamW, its rate a cosine that ends after `period` steps,
    by default the last; the released code has 20 of 30 or 40."""

    steps: int = 30
    rate: float | Float[Array, ""] = 2e-4
    weight_decay: float = 0.01
    period: int | None = None


class Adapted(NamedTuple):
    """The network for one structure, and what it is told with every slice."""

    learned: PyTree
    masks: Float[Array, "K G G"]  # the halo of each support slice
    points: Float[Array, "K P 2"]  # drawn on each support slice
    valid: Bool[Array, " K"]


def points_together(mask: Shaped[Array, "N H W"], count: int, key: Array) -> Float[Array, "N K 2"]:
    """Draw points on all masks of a chunk together, the same for each of its slices."""
    points = drawn_on(mask, count, key)
    return jnp.broadcast_to(points[None], (mask.shape[0], *points.shape))


def alone(mask: Shaped[Array, "N H W"], count: int, key: Array) -> Float[Array, "N K 2"]:
    """Draw points on each mask by itself; equal masks have the same."""
    return jax.vmap(lambda each: drawn_on(each[None], count, key))(mask)


def ssm_sam(
    network: SsmSam,
    *,
    chunk: int,
    passes: int = 3,
    rate: float = 1e-4,
    learn_rate: bool = False,
    order: int = 1,
    online: Online = Online(),
    drawn: Drawn = Drawn(),
    points_from: str = "support",
    colors: Callable[[Array], Array] = slices_as_colors,
    memory: Memory = REMAT,
) -> Algorithm:
    """Learn adapters, sampler and decoder from which few steps on one slice segment a new
    structure.

    `meta.backbone` holds the image encoder's weights, under its name. Slices of support and query
    come as chunks of `chunk` neighbors; `prompt` of each is the mask of the support slice. For
    images there may be the named parts of their prefix, computed before. Without any passes it is
    the same network trained jointly on all structures.

    The points that new slices are segmented with come, as `points_from` says, from the mask of the
    support, are "clicks" given with each slice [N, K, 2], or there are none. `colors` makes pixels
    of slices. What the released code does otherwise is in `methods/ssm_sam/released.py`.

    Raises ValueError for another `points_from`.
    """
    if points_from not in POINTS_FROM:
        raise ValueError(f"points_from {points_from!r}: known are {', '.join(POINTS_FROM)}")

    def init(key) -> Meta:
        theta = network.init(key)
        rates = jax.tree.map(lambda p: jnp.full_like(p, rate), theta) if learn_rate else ()
        return Meta(dict(theta=theta, rate=rates))

    def encode(meta: Meta, image) -> Prefix:
        if isinstance(image, Prefix):  # it was seen before
            return image
        if isinstance(image, dict):  # and kept on disk
            return from_parts(image)
        return network.encode(meta.backbone, colors(image))

    def seen(meta: Meta, examples: Examples) -> Examples:
        """Look at slices once, outside of every loop, and soften the masks that they are told.

        What is large and soon seen again is not kept: the patches of many large slices.
        """
        told = examples.mask if isinstance(examples.prompt, tuple) else examples.prompt
        image = examples.image
        if network.adapter.blocks[0] > 0:  # some at a time: attention needs room
            image = (
                encode(meta, image)
                if isinstance(image, dict)
                else by_few(partial(encode, meta), image)
            )
        elif isinstance(image, dict) or image.size < MOST_KEPT:
            image = encode(meta, image)
        return examples._replace(image=image, prompt=on_grid(halo(told), network))

    def segment(meta: Meta, learned, image, points, mask, *, key=None):
        prefix = encode(meta, image)
        return network.apply(meta.backbone, learned, prefix, points, mask, key=key)

    def loss_with(meta: Meta, draw: Callable, count: int) -> Callable:
        def loss(learned, examples: Examples, key) -> Float[Array, ""]:
            where, drop = jax.random.split(key)
            shown = examples.mask * examples.valid[:, None, None]
            points = draw(shown, count, where)
            logits = segment(meta, learned, examples.image, points, examples.prompt, key=drop)
            return chunk_loss(logits, examples.mask, examples.valid)

        return loss

    def walk(learned, meta, support, key):
        plan = by_chunks(support, chunk, passes)
        update = optax.chain(optax.sgd(1.0), scale_by(learned["rate"] if learn_rate else rate))
        how = dict(update=update, key=key, order=order, memory=memory)
        return adapt(
            loss_with(meta, points_together, drawn.inner), learned["theta"], support, plan, **how
        )

    def outer(meta: Meta, task: Task) -> tuple[PyTree, dict]:
        inner_key, query_key, logged = jax.random.split(typed_key(task.key), 3)
        support, query = seen(meta, task.support), seen(meta, task.query)
        chunks = jax.tree.map(lambda a: a.reshape(-1, chunk, *a.shape[1:]), query)
        keys = jax.random.split(query_key, chunks.mask.shape[0])

        def judged(learned):
            phi, (losses, _) = walk(learned, meta, support, inner_key)
            loss = jax.checkpoint(loss_with(meta, points_together, drawn.outer))
            values = jax.lax.map(lambda at: loss(phi, *at), (chunks, keys))
            return values.sum(), (phi, values.mean(), losses)

        meta_gradient, (phi, value, losses) = jax.grad(judged, has_aux=True)(meta.learned)
        ends = [meta.learned["theta"], phi] if passes else [phi]
        both = jax.tree.map(lambda *ends: jnp.stack(ends), *ends)
        scores = jax.lax.map(lambda v: score(meta, v, query, logged), both)
        return meta_gradient, dict(
            loss=value,
            dice=scores[-1],
            dice_before=scores[0],
            grad_norm=optax.tree.norm(meta_gradient),
            **(dict(inner_first=losses[0], inner_last=losses[-1]) if passes else {}),
        )

    def score(meta: Meta, learned, query: Examples, key) -> Float[Array, ""]:
        """Segment chunks as in the outer loss, for logs: points lie on what is to be found."""
        n = query.mask.shape[0]

        def one(at):
            examples, key = at
            points = points_together(examples.mask, drawn.outer, key)
            still = jax.lax.stop_gradient(learned)
            return segment(meta, still, examples.image, points, examples.prompt)

        chunks = jax.tree.map(lambda a: a.reshape(n // chunk, chunk, *a.shape[1:]), query)
        logits = jax.lax.map(one, (chunks, jax.random.split(key, n // chunk)))
        return hard_dice(logits.reshape(query.mask.shape), query.mask, query.valid)

    def adapt_to(meta: Meta, support: Examples, key) -> Adapted:
        walked, where = jax.random.split(key)
        told = seen(meta, support._replace(prompt=()))
        plan = whole_support(told, online.steps)
        plan = plan._replace(rate=cosine(online.steps, online.period or online.steps))
        update = optax.adamw(online.rate, weight_decay=online.weight_decay)
        theta = meta.learned["theta"]
        learned, _ = descend(
            loss_with(meta, alone, drawn.online), theta, told, plan, update=update, key=walked
        )
        points = alone(support.mask, 0 if points_from == "none" else drawn.asked, where)
        return Adapted(learned, told.prompt, points, support.valid)

    def predict(meta: Meta, phi: Adapted, image, prompt=()):
        if (points_from == "clicks") != (not isinstance(prompt, tuple)):
            raise ValueError(
                f"points come from {points_from!r}: clicks are given as the prompt, or are not"
            )
        prefix = encode(meta, image)
        n = prefix.tokens.shape[0]

        def told_by(support):
            mask, points = support
            mask = jnp.broadcast_to(mask[None], (n, *mask.shape))
            shared = jnp.broadcast_to(points[None], (n, *points.shape))
            points = prompt if points_from == "clicks" else shared
            return segment(meta, phi.learned, prefix, points, mask)

        logits = jax.lax.map(told_by, (phi.masks, phi.points))
        weight = phi.valid[:, None, None, None] / jnp.maximum(phi.valid.sum(), 1)
        inside = (jax.nn.sigmoid(logits) * weight).sum(0)
        return (jnp.log(inside + 1e-7) - jnp.log(1 - inside + 1e-7))[..., None]

    return Algorithm(init, adapt_to, predict, outer)


def by_few(encode: Callable[[Array], Prefix], image: Float[Array, "N S S 1"]) -> Prefix:
    """Look at a few slices after the others."""
    return jax.lax.map(
        lambda one: jax.tree.map(lambda a: a[0], encode(one[None])), image, batch_size=FEW
    )


def on_grid(mask: Float[Array, "N S S"], network: SsmSam) -> Float[Array, "N G G"]:
    """Take of a mask every pixel that is nearest to a token, as PyTorch's "nearest" does."""
    step = mask.shape[1] // network.size.grid
    return mask[:, ::step, ::step]


def chunk_loss(logits, mask, valid) -> Float[Array, ""]:
    """Mean binary cross-entropy plus the mean over slices of 1 - soft IoU, without smoothing.

    iou = sum(p y) / (sum p + sum y - sum(p y)), and 0 where the truth is empty: there sigmoids, or
    the square of their sum in the gradient, may underflow, so the union is at least 1e-6; elsewhere
    it is at least 1.
    """
    logits = wide(logits)
    y = (mask > 0).astype(logits.dtype)
    p, weight = jax.nn.sigmoid(logits), valid.astype(logits.dtype)
    pixel = (jax.nn.softplus(logits) - logits * y).mean((1, 2))
    both = (p * y).sum((1, 2))
    iou = both / maximum(p.sum((1, 2)) + y.sum((1, 2)) - both, 1e-6)
    return ((pixel + 1 - iou) * weight).sum() / jnp.maximum(weight.sum(), 1)


def by_chunks(examples: Examples, chunk: int, passes: int) -> Plan:
    """Plan a step a chunk, over all chunks several times.

    A chunk without a valid slice has no gradient, so its step moves nothing and need not rest:
    under `vmap` a choice between two branches copies all that either sees, the frozen weights too.
    """
    index = np.arange(examples.mask.shape[0], dtype=np.int32).reshape(-1, chunk)
    steps = passes * len(index)
    return Plan(np.tile(index, (passes, 1)), np.ones(steps, np.float32), np.ones(steps, bool))


def cosine(steps: int, period: int) -> Float[np.ndarray, " S"]:
    """Make factors on a rate: from 1 to (almost) 0 after `period` steps, and back up if there are
    more."""
    least = 1e-7 / 2e-4
    wave = 0.5 * (1 + np.cos(np.pi * np.arange(steps) / period))
    return (least + (1 - least) * wave).astype(np.float32)
