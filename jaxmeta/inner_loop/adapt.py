"""The inner loop: how a network becomes a network for one structure. Start reading here.

A few labelled slices, the support, say what the structure is. `adapt` walks from given parameters
down the support loss, one optax update a step, as one compiled scan. Every method of this library
that adapts by gradients is this function with other arguments: MAML differentiates through it,
Reptile looks only at where it ends, transfer and scratch start it elsewhere.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PyTree

from jaxmeta.inner_loop.checks import check_differentiable, check_floating, scalar
from jaxmeta.inner_loop.parameters import part_of
from jaxmeta.inner_loop.plan import Plan, all_active
from jaxmeta.inner_loop.rematerialise import REMAT, Memory
from jaxmeta.tasks.task import Examples


def adapt(
    loss: Callable[[PyTree, Examples, Array], Float[Array, ""]],
    phi: PyTree,
    support: Examples,
    plan: Plan,
    *,
    update: optax.GradientTransformation,
    key: Array,
    order: int = 2,
    memory: Memory = REMAT,
    trainable: Sequence[str] = (),
    watch: Callable[[PyTree], Any] | None = None,
) -> tuple[PyTree, tuple[Float[Array, " S"], Any]]:
    """Walk down the support loss: phi <- phi + rate * update(grad loss(phi)), step by step of the
    plan.

    With theta the parameters that come in and phi those that go out, `order=2` keeps the whole
    derivative d phi / d theta. `order=1` treats every inner gradient as a constant: d phi / d theta
    is the identity (Finn et al. 2017, arXiv 1703.03400, section 5.2), while whatever else the
    update rule closes over, a learned rate for instance, still gets its gradient.

    Only what lies under the names in `trainable` ("head", "up_0/conv_1") moves; without any,
    every parameter does. `update` and its closed-over rates see trees of that part alone
    (`parameters.part_of`); the loss, `watch` and the result are of the whole.

    With the `memory` modes REMAT and MIXED nothing is kept of a second-order step but phi and the
    optimizer's state, so memory hardly grows with S.

    Returns phi and the trace: each step's loss before its update (0 where it rested), and
    `watch(phi)` after it. Raises ValueError for a loss that is not one number, integer parameters,
    and at second order an update without a derivative where a gradient is 0 (Adam without
    `eps_root`).
    """
    if order not in (1, 2):
        raise ValueError(f"order is 1 or 2, not {order}")
    moved, whole = part_of(phi, trainable)
    check_floating(moved)
    if order == 2:
        check_differentiable(update, moved)

    def loss_of_part(part, *rest):
        return loss(whole(part), *rest)

    def watched(part):
        return watch and watch(whole(part))

    value_and_grad = (jax if order == 1 else memory).value_and_grad(scalar(loss_of_part))

    def gradient_step(carry, now):
        phi, state = carry
        number, (index, rate, _) = now
        examples = jax.tree.map(lambda a: jnp.take(a, index, axis=0), support)
        value, g = value_and_grad(phi, examples, jax.random.fold_in(key, number))
        seen = phi
        if order == 1:
            g, seen = jax.lax.stop_gradient((g, phi))
        delta, after = update.update(g, state, seen)
        new = jax.tree.map(lambda p, d: (p + rate * d).astype(p.dtype), phi, delta)
        return (new, after), (value, watched(new))

    def no_op(carry, now):
        nothing = jax.eval_shape(gradient_step, carry, now)[1][0]
        return carry, (jnp.zeros((), nothing.dtype), watched(carry[0]))

    def step(carry, now):  # a step that rests costs nothing, where tasks are not side by side
        return (
            gradient_step(carry, now)
            if all_active(plan)
            else jax.lax.cond(now[1].active, gradient_step, no_op, carry, now)
        )

    if not len(plan.active) and watch is None:  # a loop of no steps would still be compiled
        return phi, (jnp.zeros(0), None)
    if order == 2:  # else only gradients are kept, and there is nothing to spare
        # without the barrier against common subexpressions: safe, and faster, in a scan
        step = jax.checkpoint(step, prevent_cse=False, policy=memory.keep)
    steps = jnp.arange(len(plan.active)), jax.tree.map(jnp.asarray, plan)
    (moved, _), trace = jax.lax.scan(step, (moved, update.init(moved)), steps)
    return whole(moved), trace


def descend(
    loss: Callable,
    phi: PyTree,
    support: Examples,
    plan: Plan,
    *,
    update: optax.GradientTransformation,
    key: Array,
) -> tuple[PyTree, Float[Array, " S"]]:
    """Adapt with no thought of a derivative of the whole: nothing is kept for one, or recomputed.

    Returns phi and each step's loss before its update.
    """
    phi, (losses, _) = adapt(loss, phi, support, plan, update=update, key=key, order=1)
    return phi, losses
