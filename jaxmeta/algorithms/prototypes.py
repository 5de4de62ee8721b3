"""Prototypes: the baseline of few-shot segmentation, which learns to describe pixels and adapts
nothing.

    p_c = mean of the features of the support's pixels of class c    (masked average pooling)
    logit = scale * (cos(feature, p_1) - cos(feature, p_0))          c = 1 the structure, 0 the rest

Prototypical networks (Snell et al. 2017, arXiv 1703.05175) for pixels, as PANet has them (Wang et
al. 2019, arXiv 1908.06391), without its alignment loss. Meta-gradient: the plain gradient of the
query loss."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxmeta.algorithms.algorithm import Algorithm
from jaxmeta.algorithms.amortized import amortized
from jaxmeta.losses.segmentation import wide
from jaxmeta.models.model import Model
from jaxmeta.tasks.task import Examples


def prototypes(
    model: Model,
    loss_of: Callable[[Model], Callable],
    *,
    scale: float = 20.0,
    begin: Callable[[Array, Any], Array] = lambda image, prompt: 0.0,
) -> Algorithm:
    """Learn features (the channels that `model` gives) in which a structure is near its own mean.

    phi are the two prototypes [2, C]. `loss_of(model)` makes the loss, as `segmentation_loss` does.
    Likeness is added to the logits of `begin(image, prompt)`: what is known of slices already.
    """

    def features(theta: PyTree, image, prompt=()) -> Float[Array, "N H W C"]:
        return unit(model.apply(theta, image, prompt)[0])

    def describe(theta: PyTree, support: Examples) -> Float[Array, "2 C"]:
        inside = support.mask.astype(jnp.float32)
        classes = jnp.stack([1 - inside, inside]) * support.valid[None, :, None, None]
        sums = jnp.einsum("cnhw,nhwf->cf", classes, features(theta, support.image, support.prompt))
        return unit(sums / jnp.maximum(classes.sum((1, 2, 3)), 1)[:, None])

    def classify(theta, phi, image, prompt=()) -> Float[Array, "N H W 1"]:
        near = features(theta, image, prompt) @ phi.T
        return begin(image, prompt) + scale * (near[..., 1:] - near[..., :1])

    return amortized(model.init, describe, classify, loss_of)


def unit(vectors: Float[Array, "... C"]) -> Float[Array, "... C"]:
    """Scale vectors to length 1; the null vector stays, with a finite derivative."""
    vectors = wide(vectors)
    return vectors * jax.lax.rsqrt((vectors**2).sum(-1, keepdims=True) + 1e-12)
