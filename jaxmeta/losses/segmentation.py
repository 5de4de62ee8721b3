"""Soft, differentiable losses and scores of a set of slices; hard scores of volumes are in
`metrics/`.

Sums run over all valid slices of a set together, as one small volume: a slice without the structure
then adds its false positives instead of an undefined ratio, and an all-empty set is finite, with
finite gradients of any order, because numerator and denominator carry the same smoothing.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from jaxmeta.models.model import Model
from jaxmeta.tasks.task import Examples

Logits = Float[Array, "N H W"]
Mask = Integer[Array, "N H W"]
Valid = Bool[Array, " N"]


def wide(logits: Float[Array, "*any"]) -> Float[Array, "*any"]:
    """Make logits float32 at least: a sum over pixels is beyond float16, and bfloat16 has 3
    digits."""
    return logits.astype(jnp.promote_types(logits.dtype, jnp.float32))


def cross_entropy(logits: Logits, mask: Mask, valid: Valid) -> Float[Array, ""]:
    """Mean binary cross-entropy of the pixels of valid slices: softplus(z) - z y."""
    logits = wide(logits)
    pixels = jax.nn.softplus(logits) - logits * mask.astype(logits.dtype)
    weight = valid.astype(logits.dtype)
    slices = pixels.mean((1, 2))
    return (slices * weight).sum() / jnp.maximum(weight.sum(), 1)


def soft_dice(logits: Logits, mask: Mask, valid: Valid, smooth: float = 1.0) -> Float[Array, ""]:
    """1 - (2 sum(s y) + smooth) / (sum(s) + sum(y) + smooth), with s = sigmoid(z).

    V-Net's loss (Milletari et al. 2016, arXiv 1606.04797) with sums in place of sums of squares.
    """
    logits = wide(logits)
    weight = valid.astype(logits.dtype)[:, None, None]
    s, y = jax.nn.sigmoid(logits) * weight, mask.astype(logits.dtype) * weight
    return 1 - (2 * (s * y).sum() + smooth) / (s.sum() + y.sum() + smooth)


def hard_dice(logits: Logits, mask: Mask, valid: Valid) -> Float[Array, ""]:
    """Dice of the thresholded prediction over all valid slices; 1 where both are empty. For
    logs."""
    weight = valid[:, None, None]
    s, y = (logits > 0) & weight, (mask > 0) & weight
    both, either = (s & y).sum(), s.sum() + y.sum()
    return jnp.where(either > 0, 2 * both / jnp.maximum(either, 1), 1.0)


def hard_iou(logits: Logits, mask: Mask, valid: Valid) -> Float[Array, ""]:
    """Mean over valid slices of the IoU of the thresholded prediction; 1 where both are empty.

    As MetaMedSeg scores a slice: (|P and T| + e) / (|P or T| + e) with e = 1e-4.
    """
    s, y = logits > 0, mask > 0
    both, either = (s & y).sum((1, 2)), (s | y).sum((1, 2))
    each = (both + 1e-4) / (either + 1e-4) * valid
    return each.sum() / jnp.maximum(valid.sum(), 1)


def segmentation_loss(
    model: Model, *, cross_entropy_weight: float = 1.0, dice_weight: float = 1.0
) -> Callable:
    """Make the loss that the inner loop walks down: weighted BCE + soft Dice of a model's first
    output.

    It is loss(variables: PyTree, examples: Examples of N slices, key) -> Float[Array, ""], over the
    valid slices together. Whatever else has this signature may stand in its place.
    """

    def loss(variables, examples: Examples, key) -> Float[Array, ""]:
        logits, _ = model.apply(variables, examples.image, examples.prompt, key=key, train=True)
        parts = logits[..., 0], examples.mask, examples.valid
        return cross_entropy_weight * cross_entropy(*parts) + dice_weight * soft_dice(*parts)

    return loss
