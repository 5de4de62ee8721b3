"""One list of algorithms, one list of properties: an algorithm is added with one line.

What an algorithm's direction must equal is its own: second order is the finite difference of the
whole, first order the finite difference with the inner updates held fixed, Reptile is theta - phi,
implicit MAML the finite difference of where a converged inner loop ends, transfer and prototypes the
plain gradient. All in float64 on a smooth network.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmeta.adapt import adapt, whole_support
from jaxmeta.algorithms import (
    imaml,
    maml,
    maml_plus_plus,
    prototypes,
    reptile,
    scratch,
    transfer,
)
from jaxmeta.algorithms.algorithm import Algorithm, key_of
from jaxmeta.algorithms.maml_plus_plus import importance
from jaxmeta.linear import conjugate_gradient, neumann
from jaxmeta.losses import segmentation_loss
from jaxmeta.memory import MIXED, PLAIN
from jaxmeta.models.model import Model
from jaxmeta.tasks.task import Examples
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


def of_every_step(algorithm, learned, task):
    """The weighted sum of the query losses after 1, 2, .. steps, each walked on its own."""
    weights = importance(STEPS, jnp.asarray(MADE), ANNEAL)

    def query_loss(values):
        total = 0.0
        for count in range(1, STEPS + 1):
            shorter = maml_plus_plus(MODEL, LOSS, steps=STEPS, rate=0.1, test_steps=count)
            total += weights[count - 1] * of_the_whole(shorter, learned, task)(values)
        return total

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
        LOSS,
        learned,
        task.support,
        whole_support(task.support, STEPS),
        update=ADAM,
        key=inner(task),
        order=1,
    )
    gap = jax.tree.map(lambda a, b: a - b, learned, phi)
    return lambda values: optax.tree.vdot(values, gap)


def of_the_prediction(algorithm, learned, task):
    """The query loss of what the algorithm predicts, once adapted."""

    def query_loss(values):
        meta = algorithm.init(jax.random.key(0))._replace(learned=values)
        phi = algorithm.adapt(meta, task.support, inner(task))
        logits = algorithm.predict(meta, phi, task.query.image)
        return segmentation_loss(giving(logits))(values, task.query, None)

    return query_loss


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
    # (algorithm, learned, task) -> the function that `outer` differentiates
    function: Callable | None
    finds: str = "variables"  # what phi is: the network's variables, or something of its own


MADE, ANNEAL = 1, 3  # where MAML++ is tested: a third of the way to the last step alone
tune = dict(optimiser=ADAM, steps=STEPS)
CONVERGED = dict(steps=400, strength=2.0, inner=optax.sgd(0.3))
CASES = {
    "maml": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.1), of_the_whole),
    "maml, adam inside": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.02, inner=optax.adam(1.0, eps_root=1e-4)), of_the_whole),
    "meta-sgd": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.1, learn_rate=True), of_the_whole),
    "fomaml": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.1, order=1), with_updates_held),
    "first-order meta-sgd": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.1, learn_rate=True, order=1), with_updates_held),
    "maml, plain": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.1, memory=PLAIN), of_the_whole),
    "meta-sgd, mixed": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.1, learn_rate=True, memory=MIXED), of_the_whole),
    "anil": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.1, names=("head",)), of_the_whole),
    "meta-sgd of a subtree": Case(maml(MODEL, LOSS, steps=STEPS, rate=0.1, learn_rate=True, names=("trunk", "head/bias")), of_the_whole),
    "maml++": Case(maml_plus_plus(MODEL, LOSS, steps=STEPS, rate=0.1, anneal=ANNEAL), of_every_step),
    "imaml": Case(imaml(MODEL, LOSS, solve=conjugate_gradient(40), **CONVERGED), of_the_whole),
    "imaml, neumann": Case(imaml(MODEL, LOSS, solve=neumann(200, 0.5), **CONVERGED), of_the_whole),
    "prototypes": Case(prototypes(small_model(classes=4), segmentation_loss), of_the_prediction, "prototypes"),
    "reptile": Case(reptile(MODEL, LOSS, steps=STEPS, inner=ADAM), where_it_ends),
    "transfer": Case(transfer(MODEL, HEADS, LOSS, segmentation_loss, **tune), of_all_slices),
    "scratch": Case(scratch(MODEL, LOSS, **tune), None),
}  # fmt: skip
LEARNING = [name for name in CASES if CASES[name].function]
TUNING = [name for name in CASES if CASES[name].finds == "variables"]


@pytest.mark.parametrize("name", LEARNING)
def test_the_direction_is_the_finite_difference_that_the_algorithm_promises(x64, name):
    algorithm, function, _ = CASES[name]
    task = in_float64(small_task(1))
    meta = in_float64(algorithm.init(jax.random.key(0)))
    if name == "maml++":
        meta = algorithm.advance(meta)
    towards = random_like(meta.learned)
    direction, _ = jax.jit(algorithm.outer)(meta, task)
    expected = slope(jax.jit(function(algorithm, meta.learned, task)), meta.learned, towards)
    assert along(direction, towards) == pytest.approx(expected, rel=1e-6)
    assert abs(expected) > 1e-4


@pytest.mark.parametrize("name", TUNING)
def test_adapting_lowers_the_support_loss(name):
    algorithm = CASES[name].algorithm
    task, meta = small_task(1), algorithm.init(jax.random.key(0))
    key = jax.random.key(2)
    phi = jax.jit(algorithm.adapt)(meta, task.support, key)
    logits = algorithm.predict(meta, phi, task.query.image)
    assert logits.shape == (2, 8, 8, 1)
    again = jax.jit(algorithm.adapt)(meta, task.support, key)
    jax.tree.map(np.testing.assert_array_equal, phi, again)
    more = adapt(LOSS, phi, task.support, whole_support(task.support, 0), update=ADAM, key=key)[0]
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


def test_transfer_trains_the_output_of_the_structure_alone():
    algorithm = CASES["transfer"].algorithm
    meta = algorithm.init(jax.random.key(0))
    direction, _ = algorithm.outer(meta, small_task(1))
    kernel = np.asarray(direction["head"]["kernel"])
    assert (kernel[:, 0] == 0).all() and (kernel[:, 1] != 0).any()


def test_the_weight_of_the_steps_moves_from_all_alike_to_the_last_alone():
    weights = [np.asarray(importance(4, jnp.asarray(made), 10)) for made in (0, 5, 10, 1000)]
    np.testing.assert_allclose(weights[0], 0.25)
    np.testing.assert_allclose(weights[1], [0.125, 0.125, 0.125, 0.625])
    np.testing.assert_allclose(weights[2:], [[0, 0, 0, 1]] * 2)
    np.testing.assert_allclose(importance(4, jnp.asarray(0), 0), [0, 0, 0, 1])


def test_what_an_algorithm_moves_is_all_that_changes():
    algorithm = CASES["anil"].algorithm
    meta = algorithm.init(jax.random.key(0))
    phi = algorithm.adapt(meta, small_task(1).support, jax.random.key(1))
    np.testing.assert_array_equal(phi["trunk"]["kernel"], meta.learned["theta"]["trunk"]["kernel"])
    assert (phi["head"]["kernel"] != meta.learned["theta"]["head"]["kernel"]).all()


def test_a_structure_with_the_features_of_its_support_is_found_by_its_prototype():
    identity = Model(lambda key: (), lambda v, image, *a, **k: (image, ()))
    algorithm = prototypes(identity, segmentation_loss)
    mask = np.zeros((2, 8, 8), np.uint8)
    mask[:, 2:5, 3:6] = 1
    image = np.where(mask[..., None], [1.0, 0.2], [-0.3, 1.0]).astype(np.float32)
    meta = algorithm.init(jax.random.key(0))
    support = Examples(jnp.asarray(image), jnp.asarray(mask), np.array([True, False]))
    phi = algorithm.adapt(meta, support, jax.random.key(1))
    found = algorithm.predict(meta, phi, jnp.asarray(image[:, ::-1]))[..., 0] > 0
    np.testing.assert_array_equal(found, mask[:, ::-1] > 0)
