"""Model-agnostic meta-learning (Finn et al. 2017, arXiv 1703.03400), and what follows from its
rule.

    phi_0 = theta,   phi_{s+1} = phi_s + alpha * U(grad L_support(phi_s))      s = 0 .. S-1
    meta_gradient = d L_query(phi_S) / d (theta, alpha)

U is any optax transformation, `sgd(1.0)` (minus the gradient) for the paper's rule. alpha is one
fixed number, or with `learn_rate` a tree like theta that is learned too: Meta-SGD (Li et al. 2017,
arXiv 1707.09835). `order=1` holds phi - theta fixed: FOMAML. `trainable` are all that the inner
loop moves: the head alone is ANIL (Raghu et al. 2020, arXiv 1909.09157)."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax

from jaxmeta.algorithms.algorithm import Algorithm, Meta, predictor_of, query_gradient
from jaxmeta.inner_loop.adapt import adapt
from jaxmeta.inner_loop.checks import check_differentiable
from jaxmeta.inner_loop.parameters import part_of
from jaxmeta.inner_loop.plan import decaying, whole_support
from jaxmeta.inner_loop.rematerialise import REMAT, Memory
from jaxmeta.inner_loop.transforms import scale_by
from jaxmeta.models.model import Model


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
    trainable: Sequence[str] = (),
    memory: Memory = REMAT,
) -> Algorithm:
    """Learn an initialization (and rates) from which `steps` inner steps segment a new structure.

    More steps at test time than in training often help: `test_steps`, by default as many. Rates
    were learned for `steps` steps and may be too high for more; each step beyond those takes
    `decay` times the rate of the step before it. Without `trainable` the inner loop moves every
    parameter.
    """

    def init(key) -> Meta:
        theta = model.init(key)
        moved, _ = part_of(theta, trainable)
        if order == 2:  # `adapt` cannot ask a rule that closes over learned rates
            check_differentiable(inner, moved)
        rates = jax.tree.map(lambda p: jnp.full_like(p, rate), moved) if learn_rate else ()
        return Meta(dict(theta=theta, rate=rates))

    def walk(learned, support, key, count):
        update = optax.chain(inner, scale_by(learned["rate"] if learn_rate else rate))
        how = dict(update=update, key=key, order=order, memory=memory, trainable=trainable)
        plan = whole_support(support, count)._replace(rate=decaying(count, steps, decay))
        return adapt(loss, learned["theta"], support, plan, **how)

    def adapt_to(meta, support, key):
        return walk(meta.learned, support, key, steps if test_steps is None else test_steps)[0]

    def query_loss(learned, meta, task, inner_key, query_key):
        phi, (losses, _) = walk(learned, task.support, inner_key, steps)
        value = loss(phi, task.query, query_key)
        return value, (learned["theta"], phi, value, losses)

    return Algorithm(init, adapt_to, predictor_of(model), query_gradient(query_loss, model))
