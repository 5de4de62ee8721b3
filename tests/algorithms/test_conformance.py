"""One list of algorithms, one list of properties: an algorithm is added with one line.

What an algorithm's direction must equal is its own: second order is the finite difference of the
whole, first order the finite difference with the inner updates held fixed, Reptile is theta - phi,
transfer the plain gradient. All in float64 on a smooth network.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmeta.adapt import adapt, whole_support
from jaxmeta.algorithms import maml, reptile, scratch, transfer
from jaxmeta.algorithms.algorithm import Algorithm, key_of
from jaxmeta.algorithms.maml import scale_by
from jaxmeta.losses import segmentation_loss
from small import LOSS, MODEL, along, in_float64, random_like, slope, small_model, small_task

STEPS = 2
HEADS = small_model(classes=2)
ADAM = optax.adam(0.02, eps_root=1e-8)


def of_the_whole(algorithm, learned, task):
    """The query loss as a function of everything learned."""

    def query_loss(values):
        phi = algorithm.adapt(
            algorithm.init(jax.random.key(0))._replace(learned=values), task.support, inner(task)
        )
        return LOSS(phi, task.query, None)

    return query_loss


def with_updates_held(algorithm, learned, task):
    """The query loss where phi = theta + rate * (a constant): what first order differentiates."""
    meta = algorithm.init(jax.random.key(0))._replace(learned=learned)
    phi = algorithm.adapt(meta, task.support, inner(task))
    theta, rates = learned["theta"], learned["rate"]
    moved = jax.tree.map(lambda a, b: a - b, phi, theta)
    per_rate = jax.tree.map(lambda d, r: d / r, moved, rates) if rates else moved

    def query_loss(values):
        step = jax.tree.map(lambda d, r: d * r, per_rate, values["rate"]) if rates else per_rate
        return LOSS(jax.tree.map(jnp.add, values["theta"], step), task.query, None)

    return query_loss


def where_it_ends(algorithm, learned, task):
    """A linear function whose slope is theta - phi, phi from `adapt` itself."""
    phi, _ = adapt(
        LOSS, learned, task.support, whole_support(3, STEPS), update=ADAM, key=inner(task), order=1
    )
    gap = jax.tree.map(lambda a, b: a - b, learned, phi)
    return lambda values: optax.tree.vdot(values, gap)


def of_all_slices(algorithm, learned, task):
    """The loss of the structure's own output on support and query together."""
    slices = jax.tree.map(lambda *a: jnp.concatenate(a), task.support, task.query)
    number = int(task.ident[1])

    def slice_loss(values):
        logits, _ = HEADS.apply(values, slices.image)
        own = giving(logits[..., number][..., None])
        return segmentation_loss(own)(values, slices, None)

    return slice_loss


def giving(logits):
    return MODEL._replace(apply=lambda *a, **k: (logits, ()))


def inner(task):
    return jax.random.split(key_of(task))[0]


class Case(NamedTuple):
    algorithm: Algorithm
    function: (
        Callable | None
    )  # (algorithm, learned, task) -> the function that `outer` differentiates


tune = dict(optimiser=ADAM, steps=STEPS)
CASES = {
    "maml": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.1), of_the_whole),
    "maml, adam inside": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.02, inner=optax.adam(1.0, eps_root=1e-4)), of_the_whole),
    "meta-sgd": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.1, learn_rate=True), of_the_whole),
    "fomaml": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.1, order=1), with_updates_held),
    "first-order meta-sgd": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.1, learn_rate=True, order=1), with_updates_held),
    "reptile": Case(reptile(MODEL, LOSS, steps=STEPS, inner=ADAM), where_it_ends),
    "transfer": Case(transfer(MODEL, HEADS, LOSS, segmentation_loss, **tune), of_all_slices),
    "scratch": Case(scratch(MODEL, LOSS, **tune), None),
}  # fmt: skip
LEARNING = [name for name in CASES if CASES[name].function]


@pytest.mark.parametrize("name", LEARNING)
def test_the_direction_is_the_finite_difference_that_the_algorithm_promises(x64, name):
    algorithm, function = CASES[name]
    task = in_float64(small_task(1))
    meta = in_float64(algorithm.init(jax.random.key(0)))
    towards = random_like(meta.learned)
    direction, _ = jax.jit(algorithm.outer)(meta, task)
    expected = slope(jax.jit(function(algorithm, meta.learned, task)), meta.learned, towards)
    assert along(direction, towards) == pytest.approx(expected, rel=1e-6)
    assert abs(expected) > 1e-4


@pytest.mark.parametrize("name", CASES)
def test_adapting_lowers_the_support_loss(name):
    algorithm = CASES[name].algorithm
    task, meta = small_task(1), algorithm.init(jax.random.key(0))
    key = jax.random.key(2)
    phi = jax.jit(algorithm.adapt)(meta, task.support, key)
    logits = algorithm.predict(meta, phi, task.query.image)
    assert logits.shape == (2, 8, 8, 1)
    again = jax.jit(algorithm.adapt)(meta, task.support, key)
    jax.tree.map(np.testing.assert_array_equal, phi, again)
    more = adapt(LOSS, phi, task.support, whole_support(3, 0), update=ADAM, key=key)[0]
    before = LOSS(starting(name, meta, key), task.support, None)
    assert LOSS(more, task.support, None) < before


def starting(name, meta, key):
    fresh = MODEL.init(jax.random.split(key)[0])
    if name == "scratch":
        return fresh
    if name == "transfer":
        return {**meta.learned, "head": fresh["head"]}
    return meta.learned["theta"] if "theta" in meta.learned else meta.learned


@pytest.mark.parametrize("name", LEARNING)
def test_what_is_seen_of_the_query_never_reaches_the_inner_loop(name):
    algorithm = CASES[name].algorithm
    task, meta = small_task(1), algorithm.init(jax.random.key(0))
    query = task.query._replace(image=task.query.image[::-1] + 1, mask=1 - task.query.mask)
    outer = jax.jit(algorithm.outer)
    mine, other = outer(meta, task)[1], outer(meta, task._replace(query=query))[1]
    assert mine["loss"] != other["loss"]
    for statistic in ("inner_first", "inner_last"):
        if statistic in mine:
            np.testing.assert_array_equal(mine[statistic], other[statistic])


@pytest.mark.parametrize("learned", [False, True])
def test_at_inner_rate_zero_first_order_equals_second_and_above_zero_they_differ(x64, learned):
    task = in_float64(small_task(1))

    def direction(rate, order):
        algorithm = maml(MODEL, LOSS, steps=STEPS, rate=rate, order=order, learn_rate=learned)
        meta = in_float64(algorithm.init(jax.random.key(0)))
        return jax.jit(algorithm.outer)(meta, task)[0]["theta"]

    def gap(rate):
        return float(
            optax.tree.norm(jax.tree.map(jnp.subtract, direction(rate, 1), direction(rate, 2)))
        )

    assert gap(0.0) < 1e-12
    assert gap(0.1) > 1e-4


def test_zero_inner_steps_is_joint_training():
    algorithm = maml(MODEL, LOSS, steps=0)
    task, meta = small_task(1), algorithm.init(jax.random.key(0))
    direction, _ = algorithm.outer(meta, task)
    expected = jax.grad(LOSS)(meta.learned["theta"], task.query, None)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), direction["theta"], expected
    )


def test_a_fixed_rate_is_the_same_as_equal_learned_rates():
    task = small_task(1)
    fixed, free = (
        maml(MODEL, LOSS, steps=STEPS, rate=0.1, learn_rate=flag) for flag in (False, True)
    )
    key = jax.random.key(0)
    phis = [a.adapt(a.init(key), task.support, key) for a in (fixed, free)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *phis)


def test_rates_scale_updates_leaf_by_leaf():
    scaled, _ = scale_by(dict(a=jnp.array([2.0, 0.0]))).update(dict(a=jnp.array([3.0, 5.0])), ())
    np.testing.assert_array_equal(scaled["a"], [6.0, 0.0])


def test_transfer_trains_the_output_of_the_structure_alone():
    algorithm = CASES["transfer"].algorithm
    meta = algorithm.init(jax.random.key(0))
    direction, _ = algorithm.outer(meta, small_task(1))
    kernel = np.asarray(direction["head"]["kernel"])
    assert (kernel[:, 0] == 0).all() and (kernel[:, 1] != 0).any()
