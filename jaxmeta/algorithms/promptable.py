"""Segment what is pointed at: how Segment Anything learns (Kirillov et al. 2023, arXiv 2304.02643).

Nothing is adapted: a slice's prompt says what is asked. A task's support slices are clicked on, its
query slices boxed, with corners a little off, as hands are. A click may mean several things: of
three masks the best one learns. A box means one: so that one mask without a correction is worth
something after few steps, only that one learns from it (in the paper, after very many, all three do
first). Then it is clicked where the mask is wrong, and one mask, told the first, learns again:

    loss = 20 focal + dice + (quality - IoU)^2           the mean of both rounds
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Integer, PyTree

from jaxmeta.algorithms.algorithm import Algorithm, Meta
from jaxmeta.bounding_boxes import box_around
from jaxmeta.losses.segmentation import hard_dice, wide
from jaxmeta.models.sam.images import slices_as_colors
from jaxmeta.models.sam.prompts import INSIDE, OUTSIDE, Prompts
from jaxmeta.models.sam.sam import Sam
from jaxmeta.models.sam.simulate import click_on, jittered
from jaxmeta.numerics import typed_key
from jaxmeta.tasks.task import Task

FOCAL, GAMMA, BALANCE = 20.0, 2.0, 0.25


def promptable(network: Sam) -> Algorithm:
    """Learn the whole network; `prompt` of a slice to segment is a box [4] in its pixels."""
    side = network.size.image

    def init(key) -> Meta:
        return Meta(dict(theta=network.init(key)))

    def outer(meta: Meta, task: Task) -> tuple[PyTree, dict]:
        clicked, boxed = jax.random.split(typed_key(task.key))

        def judged(learned):
            theta = learned["theta"]
            both = jax.tree.map(lambda *a: jnp.concatenate(a), task.support, task.query)
            seen = network.encode(theta, slices_as_colors(both.image))
            count = task.support.mask.shape[0]
            hands = (
                (seen[:count], task.support.mask, clicked),
                (seen[count:], task.query.mask, boxed),
            )
            told = [rounds(theta, *hand, boxed=n > 0) for n, hand in enumerate(hands)]
            losses, before, after = (jnp.concatenate(each) for each in zip(*told, strict=True))
            valid = both.valid & both.mask.any((1, 2))  # nobody points at nothing
            means = [
                (each * valid).sum() / jnp.maximum(valid.sum(), 1)
                for each in (losses, before, after)
            ]
            return means[0], means

        meta_gradient, (loss, before, after) = jax.grad(judged, has_aux=True)(meta.learned)
        norm = optax.tree.norm(meta_gradient)
        return meta_gradient, dict(loss=loss, dice_before=before, dice=after, grad_norm=norm)

    def rounds(theta, seen, mask, key, *, boxed: bool):
        """Prompt, correct, and judge both masks of every slice: losses, and Dice of each round
        [N]."""
        first, wrong = jax.random.split(key)
        prompts = box_prompts(mask, first) if boxed else click_prompts(mask, first)
        logits, quality = network.decode(theta, seen, prompts, several=not boxed)
        losses = mask_losses(large(logits, side), quality, mask)
        best = losses.argmin(1)[:, None]
        first_loss = jnp.take_along_axis(losses, best, axis=1)[:, 0]
        coarse = jnp.take_along_axis(logits, best[..., None, None], axis=-1)
        chosen = large(coarse, side)[..., 0]
        told = correction(prompts, chosen, mask, wrong)
        told = told._replace(masks=coarse[..., 0])
        again, quality = network.decode(theta, seen, told)
        again = large(again, side)
        second = mask_losses(again, quality, mask)[:, 0]
        dice = jax.vmap(lambda logits, mask: hard_dice(logits[None], mask[None], jnp.ones(1, bool)))
        return (first_loss + second) / 2, dice(chosen, mask), dice(again[..., 0], mask)

    def adapt(meta, support, key):
        return ()

    def predict(meta: Meta, phi, image, prompt=()):
        if isinstance(prompt, tuple):
            raise ValueError("it segments what is pointed at: give a box [N, 4] with every slice")
        seen = network.encode(meta.learned["theta"], slices_as_colors(image))
        logits, _ = network.decode(meta.learned["theta"], seen, Prompts(boxes=prompt))
        return large(logits, side)

    return Algorithm(init, adapt, predict, outer)


def large(logits: Float[Array, "N h w M"], side: int) -> Float[Array, "N S S M"]:
    """Enlarge logits to the slices that they are of."""
    return jax.image.resize(logits, (logits.shape[0], side, side, logits.shape[-1]), "linear")


def click_prompts(mask: Integer[Array, "N S S"], key: Array) -> Prompts:
    """Click on each structure."""
    click = click_on(mask, key)
    return Prompts(points=click, labels=jnp.full(click.shape[:2], INSIDE))


def box_prompts(mask: Integer[Array, "N S S"], key: Array) -> Prompts:
    """Draw a box around each structure, as a hand does."""
    return Prompts(boxes=jittered(box_around(mask), mask.shape[1], key))


def correction(prompts: Prompts, logits, mask, key: Array) -> Prompts:
    """Add a click where a mask is wrong; on a mask without fault it is one more inside."""
    missed, added = (mask > 0) & (logits <= 0), (mask == 0) & (logits > 0)
    wrong = missed | added
    where = jnp.where(wrong.any((1, 2), keepdims=True), wrong, mask > 0)
    click = click_on(where, key)
    x, y = click[:, 0].astype(jnp.int32).T
    inside = (mask > 0)[jnp.arange(mask.shape[0]), y, x]
    label = jnp.where(inside, INSIDE, OUTSIDE)[:, None]
    if prompts.points is None:
        return prompts._replace(points=click, labels=label)
    points = jnp.concatenate([prompts.points, click], axis=1)
    labels = jnp.concatenate([prompts.labels, label], axis=1)
    return prompts._replace(points=points, labels=labels)


def mask_losses(
    logits: Float[Array, "N S S M"], quality: Float[Array, "N M"], mask: Integer[Array, "N S S"]
) -> Float[Array, "N M"]:
    """Judge every mask: 20 focal + dice + (quality - IoU)^2."""
    logits, quality = wide(logits), wide(quality)
    truth = mask[..., None].astype(logits.dtype)
    p = jax.nn.sigmoid(logits)
    cross = jax.nn.softplus(logits) - logits * truth
    hit = p * truth + (1 - p) * (1 - truth)
    weight = BALANCE * truth + (1 - BALANCE) * (1 - truth)
    focal = (weight * (1 - hit) ** GAMMA * cross).mean((1, 2))
    both = (p * truth).sum((1, 2))
    dice = 1 - (2 * both + 1) / (p.sum((1, 2)) + truth.sum((1, 2)) + 1)
    seen = logits > 0
    common = (seen & (truth > 0)).sum((1, 2))
    iou = common / jnp.maximum((seen | (truth > 0)).sum((1, 2)), 1)
    return FOCAL * focal + dice + (quality - iou) ** 2
