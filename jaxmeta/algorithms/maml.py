"""Model-agnostic meta-learning (Finn et al. 2017, arXiv 1703.03400), and what follows from its rule.

    phi_0 = theta,   phi_{s+1} = phi_s + alpha * U(grad L_support(phi_s))      s = 0 .. S-1
    direction = d L_query(phi_S) / d (theta, alpha)

U is any optax transformation, `sgd(1.0)` (minus the gradient) for the paper's rule. alpha is one fixed
number, or with `learn_rate` a tree like theta that is learned too: Meta-SGD (Li et al. 2017,
arXiv 1707.09835). `order=1` holds phi - theta fixed: FOMAML. `names` are all that the inner loop moves:
the head alone is ANIL (Raghu et al. 2020, arXiv 1909.09157).
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from jaxmeta.adapt import adapt, whole_support
from jaxmeta.algorithms.algorithm import Algorithm, Meta, predictor_of, query_gradient
from jaxmeta.memory import PLAIN, REMAT, Memory
from jaxmeta.models.model import Model
from jaxmeta.subtree import part_of
from jaxmeta.tasks.task import Examples


def maml(
    model: Model,
    loss,
    *,
    steps: int = 5,
    rate: float = 0.01,
    learn_rate: bool = False,
    order: int = 2,
    inner: optax.GradientTransformation = optax.sgd(1.0),
    test_steps: int | None = None,
    decay: float = 1.0,
    names: Sequence[str] = (),
    memory: Memory = REMAT,
) -> Algorithm:
    """Learn an initialisation (and rates) from which `steps` inner steps segment a new structure.

    More steps at test time than in training often help: `test_steps`, by default as many. Rates were
    learned for `steps` steps and may be too high for more; each step beyond those takes `decay` times
    the rate of the step before it. Without `names` the inner loop moves every parameter.
    """

    def init(key) -> Meta:
        theta = model.init(key)
        moved, _ = part_of(theta, names)
        rates = jax.tree.map(lambda p: jnp.full_like(p, rate), moved) if learn_rate else ()
        return Meta(dict(theta=theta, rate=rates))

    def walk_for(count):
        def walk(learned, frozen, support, key):
            theta = learned["theta"]
            update = optax.chain(inner, scale_by(learned["rate"] if learn_rate else rate))
            how = dict(update=update, key=key, order=order, memory=memory)
            factors = falling(count, steps, decay)
            phi, (losses, _) = adapt_part(loss, theta, names, support, factors, **how)
            return theta, phi, losses

        return walk

    def adapt_to(meta, support, key):
        walk = walk_for(steps if test_steps is None else test_steps)
        return walk(meta.learned, meta.frozen, support, key)[1]

    outer = query_gradient(walk_for(steps), loss, model)
    return Algorithm(init, adapt_to, predictor_of(model), outer)


def adapt_part(
    loss: Callable,
    theta: PyTree,
    names: Sequence[str],
    support: Examples,
    factors: Float[np.ndarray, " S"],
    *,
    order: int,
    memory: Memory,
    watch: Callable[[PyTree], Any] | None = None,
    **how,
) -> tuple[PyTree, tuple[Float[Array, " S"], Any]]:
    """Let `adapt` move what lies under `names`, on the whole support; returns the whole network."""
    moved, whole = part_of(theta, names)
    plan = whole_support(support.mask.shape[0], len(factors))._replace(rate=factors)
    phi, trace = adapt(
        lambda part, *given: loss(whole(part), *given),
        moved,
        support,
        plan,
        order=order,
        # first order keeps only gradients: there is no activation to spare
        memory=memory if order == 2 else PLAIN,
        watch=watch and (lambda part: watch(whole(part))),
        **how,
    )
    return whole(phi), trace


def falling(count: int, steps: int, decay: float) -> Float[np.ndarray, " S"]:
    """Factors of `count` steps' rates: 1 for the `steps` of training, then `decay` from step to step."""
    beyond = np.maximum(np.arange(count) - steps + 1, 0)
    return np.float32(decay) ** beyond.astype(np.float32)


def scale_by(alpha: float | PyTree) -> optax.GradientTransformation:
    """Multiply updates by a number, or leaf by leaf by a tree like the parameters."""

    def update(updates, state, params=None):
        if isinstance(alpha, float):
            return jax.tree.map(lambda u: alpha * u, updates), state
        return jax.tree.map(lambda a, u: a * u, alpha, updates), state

    return optax.GradientTransformation(lambda params: optax.EmptyState(), update)
