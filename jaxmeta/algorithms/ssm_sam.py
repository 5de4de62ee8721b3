"""Self-Sampling Meta SAM (Zhang, Leng, Han, Xie, WACV 2024, arXiv 2308.16466): its optimisation.

A task is an organ, its slices are dealt into chunks of neighbours: of each chunk one slice lends its mask,
the others are segmented under that mask's halo. With theta adapters, sampler and decoder, and the image
encoder frozen:

    phi <- phi - alpha grad L_chunk(phi)            over all chunks of the support, several times
    direction = sum of grad L_chunk(phi)            over the chunks of the query, at the phi where it ended

which is first-order MAML; `order=2` differentiates through the walk, and `learn_rate` learns alpha. Online, a
new structure's support slice is its own chunk: AdamW from theta, its rate a cosine to nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from jaxmeta.adapt import adapt, descend
from jaxmeta.algorithms.algorithm import Algorithm, Meta, key_of
from jaxmeta.losses import hard_dice
from jaxmeta.memory import REMAT, Memory
from jaxmeta.models.sam.images import MEAN, STD
from jaxmeta.models.ssm_sam.blur import halo
from jaxmeta.models.ssm_sam.network import SsmSam
from jaxmeta.models.ssm_sam.points import drawn_on
from jaxmeta.plans import Plan, whole_support
from jaxmeta.tasks.task import Examples, Task
from jaxmeta.updates import scale_by

LOW, HIGH = -2.0, 3.0  # of a normalised slice: what is shown as black and as white


class Drawn(NamedTuple):
    """How many points are drawn on masks."""

    inner: int = 20
    outer: int = 5
    online: int = 3
    asked: int = 30  # when new slices are segmented


class Adapted(NamedTuple):
    """The network for one structure, and what it is told with every slice."""

    learned: PyTree
    masks: Float[Array, "K G G"]  # the halo of each support slice
    points: Float[Array, "K P 2"]  # drawn on each support slice


def ssm_sam(
    network: SsmSam,
    frozen: Callable[[Array], PyTree],
    *,
    chunk: int,
    passes: int = 3,
    rate: float = 1e-4,
    learn_rate: bool = False,
    order: int = 1,
    test_steps: int = 30,
    test_rate: float = 2e-4,
    weight_decay: float = 0.01,
    period: int | None = None,
    drawn: Drawn = Drawn(),
    memory: Memory = REMAT,
) -> Algorithm:
    """Learn adapters, sampler and decoder from which few steps on one slice segment a new structure.

    `frozen(key)` gives the image encoder. Slices of support and query come as chunks of `chunk`
    neighbours; `given` of each is the mask of the slice that lends. `period` is after how many online
    steps the rate reaches its end, by default the last; the released code has 20 of 30 or 40.
    """

    def init(key) -> Meta:
        own, encoder = jax.random.split(key)
        theta = network.init(own)
        rates = jax.tree.map(lambda p: jnp.full_like(p, rate), theta) if learn_rate else ()
        return Meta(dict(theta=theta, rate=rates), frozen(encoder))

    def seen(meta: Meta, examples: Examples) -> Examples:
        """Look at slices once, outside of every loop, and soften the masks that they are told."""
        told = examples.mask if isinstance(examples.given, tuple) else examples.given
        return examples._replace(
            image=network.look(meta.frozen, pixels(examples.image)),
            given=on_grid(halo(told), network),
        )

    def loss_with(meta: Meta, count: int) -> Callable:
        def loss(learned, examples: Examples, key) -> Float[Array, ""]:
            where, drop = jax.random.split(key)
            n = examples.mask.shape[0]
            points = drawn_on(examples.mask * examples.valid[:, None, None], count, where)
            points = jnp.broadcast_to(points[None], (n, *points.shape))
            logits = network.apply(
                meta.frozen, learned, examples.image, points, examples.given, key=drop
            )
            return chunk_loss(logits, examples.mask, examples.valid)

        return loss

    def walk(learned, meta, support, key):
        plan = by_chunks(support, chunk, passes)
        update = optax.chain(optax.sgd(1.0), scale_by(learned["rate"] if learn_rate else rate))
        how = dict(update=update, key=key, order=order, memory=memory)
        return adapt(loss_with(meta, drawn.inner), learned["theta"], support, plan, **how)

    def outer(meta: Meta, task: Task) -> tuple[PyTree, dict]:
        inner_key, query_key, logged = jax.random.split(key_of(task), 3)
        support, query = seen(meta, task.support), seen(meta, task.query)
        chunks = jax.tree.map(lambda a: a.reshape(-1, chunk, *a.shape[1:]), query)
        keys = jax.random.split(query_key, chunks.mask.shape[0])

        def judged(learned):
            phi, (losses, _) = walk(learned, meta, support, inner_key)
            loss = jax.checkpoint(loss_with(meta, drawn.outer))
            values = jax.lax.map(lambda at: loss(phi, *at), (chunks, keys))
            return values.sum(), (phi, values.mean(), losses)

        direction, (phi, value, losses) = jax.grad(judged, has_aux=True)(meta.learned)
        both = jax.tree.map(lambda *ends: jnp.stack(ends), meta.learned["theta"], phi)
        before, dice = jax.lax.map(lambda v: score(meta, v, query, logged), both)
        return direction, dict(
            loss=value,
            dice=dice,
            dice_before=before,
            inner_first=losses[0],
            inner_last=losses[-1],
            grad_norm=optax.tree.norm(direction),
        )

    def score(meta: Meta, learned, query: Examples, key) -> Float[Array, ""]:
        """Segment chunks as in the outer loss, for logs: points lie on what is to be found."""
        n = query.mask.shape[0]

        def one(at):
            examples, key = at
            points = drawn_on(examples.mask, drawn.outer, key)[None]
            points = jnp.broadcast_to(points, (chunk, *points.shape[1:]))
            learned_ = jax.lax.stop_gradient(learned)
            return network.apply(meta.frozen, learned_, examples.image, points, examples.given)

        chunks = jax.tree.map(lambda a: a.reshape(n // chunk, chunk, *a.shape[1:]), query)
        logits = jax.lax.map(one, (chunks, jax.random.split(key, n // chunk)))
        return hard_dice(logits.reshape(query.mask.shape), query.mask, query.valid)

    def adapt_to(meta: Meta, support: Examples, key) -> Adapted:
        walked, where = jax.random.split(key)
        told = seen(meta, support._replace(given=()))
        plan = whole_support(support, test_steps)
        plan = plan._replace(rate=cosine(test_steps, period or test_steps))
        update = optax.adamw(test_rate, weight_decay=weight_decay)
        theta = meta.learned["theta"]
        learned, _ = descend(
            loss_with(meta, drawn.online), theta, told, plan, update=update, key=walked
        )
        keys = jax.random.split(where, support.mask.shape[0])
        points = jax.vmap(lambda m, k: drawn_on(m[None], drawn.asked, k))(support.mask, keys)
        return Adapted(learned, told.given, points)

    def predict(meta: Meta, phi: Adapted, image, given=()):
        prefix, n = network.look(meta.frozen, pixels(image)), image.shape[0]

        def told_by(support):
            mask, points = support
            mask = jnp.broadcast_to(mask[None], (n, *mask.shape))
            shared = jnp.broadcast_to(points[None], (n, *points.shape))
            points = shared if isinstance(given, tuple) else given
            return network.apply(meta.frozen, phi.learned, prefix, points, mask)

        logits = jax.lax.map(told_by, (phi.masks, phi.points))
        inside = jax.nn.sigmoid(logits).mean(0)
        return (jnp.log(inside + 1e-7) - jnp.log(1 - inside + 1e-7))[..., None]

    return Algorithm(init, adapt_to, predict, outer)


def pixels(image: Float[Array, "N H W 1"]) -> Float[Array, "N H W 3"]:
    """Show normalised slices as the encoder's colours: grey from LOW to HIGH, then ImageNet's mean and spread."""
    shown = 255 * jnp.clip((image - LOW) / (HIGH - LOW), 0, 1)
    return (shown - jnp.array(MEAN)[None, None, None]) / jnp.array(STD)[None, None, None]


def on_grid(mask: Float[Array, "N S S"], network: SsmSam) -> Float[Array, "N G G"]:
    """Take of a mask every pixel that is nearest to a token, as PyTorch's "nearest" does."""
    step = mask.shape[1] // network.size.grid
    return mask[:, ::step, ::step]


def chunk_loss(logits, mask, valid) -> Float[Array, ""]:
    """Mean binary cross-entropy plus the mean over slices of 1 - soft IoU, without smoothing.

    iou = sum(p y) / (sum p + sum y - sum(p y)); sigmoids never are 0, so nothing is divided by 0.
    """
    y = (mask > 0).astype(logits.dtype)
    p, weight = jax.nn.sigmoid(logits), valid.astype(logits.dtype)
    pixel = (jax.nn.softplus(logits) - logits * y).mean((1, 2))
    both = (p * y).sum((1, 2))
    iou = both / (p.sum((1, 2)) + y.sum((1, 2)) - both)
    return ((pixel + 1 - iou) * weight).sum() / jnp.maximum(weight.sum(), 1)


def by_chunks(examples: Examples, chunk: int, passes: int) -> Plan:
    """Plan a step a chunk, over all chunks several times; a chunk without a valid slice rests."""
    index = np.arange(examples.mask.shape[0], dtype=np.int32).reshape(-1, chunk)
    live = examples.valid.reshape(-1, chunk).any(1)
    steps = passes * len(index)
    return Plan(np.tile(index, (passes, 1)), np.ones(steps, np.float32), jnp.tile(live, passes))


def cosine(steps: int, period: int) -> Float[np.ndarray, " S"]:
    """Make factors on a rate: from 1 to (almost) 0 after `period` steps, and back up if there are more."""
    least = 1e-7 / 2e-4
    wave = 0.5 * (1 + np.cos(np.pi * np.arange(steps) / period))
    return (least + (1 - least) * wave).astype(np.float32)
