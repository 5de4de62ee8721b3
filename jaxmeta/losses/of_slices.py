"""MetaMedSeg's losses: each looks at one slice alone, and a set's is the mean of its valid slices.

With p = sigmoid(z) and m the mask (arXiv 2109.09734 and the code released with it):

    J = (sum pm + 1) / (sum (p + m) - sum pm + 1)                 the soft IoU
    iou       1 - J
    bce       BCE, the foreground weighed by (background pixels) / (foreground pixels) if asked
    combined  (1 - J) / 2 + BCE / 2
    log_dice  BCE - log(2 J / (J + 1))
    tversky   1 - (TP + 1) / (TP + 0.2 FP + 0.8 FN + 1)
"""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmeta.losses.segmentation import wide
from jaxmeta.models.model import Model
from jaxmeta.tasks.task import Examples

Plane = Float[Array, "H W"]


def soft_iou(logits: Plane, mask: Plane) -> Float[Array, ""]:
    """J."""
    p = jax.nn.sigmoid(logits)
    both = (p * mask).sum()
    return (both + 1) / ((p + mask).sum() - both + 1)


def iou_loss(logits: Plane, mask: Plane) -> Float[Array, ""]:
    """1 - J."""
    return 1 - soft_iou(logits, mask)


def bce(logits: Plane, mask: Plane, *, balanced: bool = False) -> Float[Array, ""]:
    """Mean binary cross-entropy; `balanced` lets foreground and background count alike."""
    weight = 1.0
    if balanced:
        pixels = mask.sum()
        weight = jnp.where(pixels > 0, (mask.size - pixels) / jnp.maximum(pixels, 1), 1.0)
    each = weight * mask * jax.nn.softplus(-logits) + (1 - mask) * jax.nn.softplus(logits)
    return each.mean()


def combined(logits: Plane, mask: Plane, *, balanced: bool = False) -> Float[Array, ""]:
    """Half of the IoU loss and half of the cross-entropy."""
    return iou_loss(logits, mask) / 2 + bce(logits, mask, balanced=balanced) / 2


def log_dice(logits: Plane, mask: Plane, *, balanced: bool = False) -> Float[Array, ""]:
    """Cross-entropy less the logarithm of the Dice that follows from J."""
    j = soft_iou(logits, mask)
    return bce(logits, mask, balanced=balanced) - jnp.log(2 * j / (j + 1))


def tversky(logits: Plane, mask: Plane) -> Float[Array, ""]:
    """A Dice loss to which a missed pixel is four times as bad as a false one."""
    p = jax.nn.sigmoid(logits)
    both, false, missed = (p * mask).sum(), (p * (1 - mask)).sum(), ((1 - p) * mask).sum()
    return 1 - (both + 1) / (both + 0.2 * false + 0.8 * missed + 1)


def slice_loss(model: Model, of: Callable[[Plane, Plane], Float[Array, ""]]) -> Callable:
    """Make loss(variables, examples, key) of the loss of one slice."""

    def loss(variables, examples: Examples, key) -> Float[Array, ""]:
        logits, _ = model.apply(variables, examples.image, examples.prompt, key=key, train=True)
        logits = wide(logits[..., 0])
        each = jax.vmap(of)(logits, examples.mask.astype(logits.dtype))
        valid = examples.valid.astype(logits.dtype)
        return (each * valid).sum() / jnp.maximum(valid.sum(), 1)

    return loss


LOSSES: dict[str, Callable] = {
    "iou": iou_loss,
    "bce": bce,
    "bce_weighted": partial(bce, balanced=True),
    "combined": partial(combined, balanced=True),
    "combined2": partial(log_dice, balanced=True),
    "tversky": tversky,
}
