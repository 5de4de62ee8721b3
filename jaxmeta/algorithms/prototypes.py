"""Prototypes: the baseline of few-shot segmentation, which learns to describe pixels and adapts
nothing.

    p_c = mean of the features of the support's pixels of class c    (masked average pooling)
    logit = scale * (cos(feature, p_1) - cos(feature, p_0))          c = 1 the structure, 0 the rest

Prototypical networks (Snell et al. 2017, arXiv 1703.05175) for pixels, as PANet has them (Wang et
al. 2019, arXiv 1908.06391), without its alignment loss. Meta-gradient: the plain gradient of the
query loss."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxmeta.algorithms.algorithm import Algorithm, Meta, score
from jaxmeta.losses.segmentation import wide
from jaxmeta.models.model import Model
from jaxmeta.numerics import typed_key
from jaxmeta.tasks.task import Examples


def prototypes(
    model: Model, loss_of: Callable[[Model], Callable], *, scale: float = 20.0
) -> Algorithm:
    """Learn features (the channels that `model` gives) in which a structure is near its own mean.

    phi are the two prototypes [2, C]. `loss_of(model)` makes the loss, as `segmentation_loss` does.
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
        return scale * (near[..., 1:] - near[..., :1])

    def adapt_to(meta: Meta, support: Examples, key) -> Float[Array, "2 C"]:
        return describe(meta.learned["theta"], support)

    def predict(meta: Meta, phi, image, prompt=()):
        return classify(meta.learned["theta"], phi, image, prompt)

    def outer(meta: Meta, task):
        def query_loss(learned):
            theta = learned["theta"]
            phi = describe(theta, task.support)
            judged = Model(model.init, lambda v, *a, **options: (classify(v, phi, *a), ()))
            value = loss_of(judged)(theta, task.query, typed_key(task.key))
            return value, dict(loss=value, dice=score(judged, theta, task.query))

        meta_gradient, statistics = jax.grad(query_loss, has_aux=True)(meta.learned)
        return meta_gradient, statistics | dict(grad_norm=optax.tree.norm(meta_gradient))

    def init(key):
        return Meta(dict(theta=model.init(key)))

    return Algorithm(init, adapt_to, predict, outer)


def unit(vectors: Float[Array, "... C"]) -> Float[Array, "... C"]:
    """Scale vectors to length 1; the null vector stays, with a finite derivative."""
    vectors = wide(vectors)
    return vectors * jax.lax.rsqrt((vectors**2).sum(-1, keepdims=True) + 1e-12)
