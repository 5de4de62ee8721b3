"""MAML++ (Antoniou et al. 2019, arXiv 1810.09502): rates of every layer and step, losses after
every step.

    phi_{s+1} = phi_s - alpha[layer, s] grad L_support(phi_s)
    meta_gradient = d sum_s w_s L_query(phi_s) / d (theta, alpha)                    s = 1 .. S

A rate for each parameter array and each step is learned (section 4, "LSLR"). The query is judged
after each step (its "MSL"): at first all steps weigh the same, and over `anneal` outer steps the
weight moves to the last, where MAML has it from the beginning.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Integer

from jaxmeta.algorithms.algorithm import Algorithm, Meta, predictor_of, query_gradient
from jaxmeta.inner_loop.adapt import adapt
from jaxmeta.inner_loop.checks import check_differentiable
from jaxmeta.inner_loop.parameters import part_of
from jaxmeta.inner_loop.plan import decaying, whole_support
from jaxmeta.inner_loop.rematerialise import REMAT, Memory
from jaxmeta.inner_loop.transforms import scale_by_step
from jaxmeta.models.model import Model


def maml_plus_plus(
    model: Model,
    loss,
    *,
    steps: int = 5,
    rate: float = 0.01,
    anneal: int = 0,
    order: int = 2,
    inner: optax.GradientTransformation = optax.sgd(1.0),
    test_steps: int | None = None,
    decay: float = 1.0,
    trainable: Sequence[str] = (),
    memory: Memory = REMAT,
) -> Algorithm:
    """Learn an initialization and the rates of `steps` steps; later test steps go on with the last.

    What the state keeps besides is how many outer steps were made. Raises ValueError without a
    step.
    """
    if steps < 1:
        raise ValueError(
            f"steps={steps}: each step has a rate and a loss of its own, so one is needed"
        )

    def init(key) -> Meta:
        theta = model.init(key)
        moved, _ = part_of(theta, trainable)
        if order == 2:  # `adapt` cannot ask a rule that closes over learned rates
            check_differentiable(inner, moved)
        rates = jax.tree.map(lambda p: jnp.full(steps, rate, p.dtype), moved)
        return Meta(dict(theta=theta, rate=rates), jnp.zeros((), jnp.int32))

    def walk(learned, support, key, count, watch=None):
        update = optax.chain(inner, scale_by_step(learned["rate"]))
        how = dict(update=update, key=key, order=order, memory=memory, trainable=trainable)
        plan = whole_support(support, count)._replace(rate=decaying(count, steps, decay))
        return adapt(loss, learned["theta"], support, plan, watch=watch, **how)

    def adapt_to(meta, support, key):
        return walk(meta.learned, support, key, steps if test_steps is None else test_steps)[0]

    def query_loss(learned, meta, task, inner_key, query_key):
        def judge(phi):
            return loss(phi, task.query, query_key)

        phi, (losses, after) = walk(learned, task.support, inner_key, steps, judge)
        value = importance(steps, meta.state, anneal) @ after
        return value, (learned["theta"], phi, after[-1], losses)

    def advance(meta):
        return meta._replace(state=meta.state + 1)

    outer = query_gradient(query_loss, model)
    return Algorithm(init, adapt_to, predictor_of(model), outer, advance=advance)


def importance(steps: int, made: Integer[Array, ""], anneal: int) -> Float[Array, " S"]:
    """Weigh the query's loss after each inner step: all alike, then more and more the last
    alone."""
    share = jnp.minimum(made / anneal, 1.0) if anneal else 1.0
    last = jnp.arange(steps) == steps - 1
    return share * last + (1 - share) / steps
