"""Properties of the inner loop, on a smooth network."""

from functools import cache, partial
from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmeta.inner_loop.adapt import adapt
from jaxmeta.inner_loop.plan import Plan, one_by_one, whole_support
from jaxmeta.inner_loop.rematerialise import MIXED, PLAIN, REMAT
from jaxmeta.inner_loop.transforms import scale_by
from tests.helpers.small import LOSS, MODEL, along, in_float64, random_like, slope, small_task

OPTIMIZERS = {
    "sgd": optax.sgd(0.1),
    "momentum": optax.sgd(0.1, momentum=0.9),
    "adam": optax.adam(0.01, eps_root=1e-8),
}


@pytest.fixture
def start():
    return MODEL.init(jax.random.key(0)), small_task().support


@cache
def compiled(update, **options):
    """Compile a walk once for all plans of one shape."""

    def walk(phi, support, plan):
        return adapt(LOSS, phi, support, plan, update=update, key=jax.random.key(1), **options)

    return jax.jit(walk)


def walked(phi, support, plan, update=OPTIMIZERS["momentum"], **options):
    return compiled(update, **options)(phi, support, plan)


VALUE_AND_SLOPE = jax.jit(jax.value_and_grad(LOSS))


def test_scan_equals_a_python_loop(start):
    theta, support = start
    update, key = OPTIMIZERS["adam"], jax.random.key(1)
    plan = Plan(np.array([[0, 1], [1, 2], [2, 0]]), np.array([1.0, 0.5, 2.0]), np.ones(3, bool))
    phi, state, losses = theta, update.init(theta), []
    for number in range(3):
        examples = jax.tree.map(lambda a: a[plan.index[number]], support)
        value, g = VALUE_AND_SLOPE(phi, examples, jax.random.fold_in(key, number))
        delta, state = update.update(g, state, phi)
        phi = jax.tree.map(lambda p, d: p + plan.rate[number] * d, phi, delta)
        losses.append(value)
    scanned, (trace, _) = walked(theta, support, plan, update)
    np.testing.assert_allclose(trace, losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), scanned, phi)


def test_a_step_that_is_not_live_changes_no_bit(start):
    theta, support = start
    plan = whole_support(support, 4)
    rested = plan._replace(active=np.array([True, False, True, False]))
    early = plan._replace(active=np.array([True, True, False, False]))
    same = walked(theta, support, rested)[0]
    # the loss here draws no randomness, so two live steps are two steps wherever they stand
    jax.tree.map(np.testing.assert_array_equal, same, walked(theta, support, early)[0])
    short = walked(theta, support, whole_support(support, 2))[0]  # another program: it may round
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6, atol=1e-7), same, short)
    asleep = walked(theta, support, plan._replace(active=np.zeros(4, bool)))[0]
    jax.tree.map(np.testing.assert_array_equal, asleep, theta)


def test_slices_in_turn_are_a_python_loop_that_skips_what_is_not_valid(start):
    theta, support = start  # the last of three slices only fills the shape
    plan = one_by_one(support, 4, decay=0.5, every=2)
    np.testing.assert_array_equal(plan.index[:, 0], [0, 1, 2] * 4)
    np.testing.assert_array_equal(plan.rate, [1.0] * 6 + [0.5] * 6)
    np.testing.assert_array_equal(plan.active, [True, True, False] * 4)
    update = OPTIMIZERS["adam"]
    phi, state = theta, update.init(theta)
    for epoch in range(4):
        for shot in range(2):
            one = jax.tree.map(lambda a: a[shot : shot + 1], support)
            _, g = VALUE_AND_SLOPE(phi, one, None)
            delta, state = update.update(g, state, phi)
            phi = jax.tree.map(lambda p, d: p + 0.5 ** (epoch // 2) * d, phi, delta)
    found, (losses, _) = walked(theta, support, plan, update, order=1)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-5), found, phi)
    np.testing.assert_array_equal(losses[2::3], 0)
    assert np.all(losses[::3] > 0)


@pytest.mark.parametrize("order", [1, 2])
def test_tasks_of_different_lengths_side_by_side_are_each_as_alone(start, order):
    theta, support = start
    valid = jnp.array([[True, True, False], [True, False, False], [True, True, True]])

    def walk(valid):
        plan = one_by_one(support, 2)._replace(active=jnp.tile(valid, 2))
        update = OPTIMIZERS["momentum"]
        return adapt(LOSS, theta, support, plan, update=update, key=jax.random.key(1), order=order)[
            0
        ]

    together, walk = jax.jit(jax.vmap(walk))(valid), jax.jit(walk)
    for number, one in enumerate(valid):
        alone = walk(one)
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a[number], b, rtol=1e-5, atol=1e-6),
            together,
            alone,
        )


def test_no_steps_give_back_the_start(start):
    theta, support = start
    phi, (losses, _) = walked(theta, support, whole_support(support, 0))
    jax.tree.map(np.testing.assert_array_equal, phi, theta)
    assert losses.shape == (0,)


def test_slices_that_only_fill_the_shape_are_not_seen(start):
    theta, support = start
    noisy = support._replace(
        image=support.image.at[~support.valid].set(5.0),
        mask=support.mask.at[~support.valid].set(1),
    )
    plan = whole_support(support, 2)
    seen = walked(theta, support, plan)[0], walked(theta, noisy, plan)[0]
    jax.tree.map(np.testing.assert_array_equal, *seen)


@pytest.mark.parametrize(
    "name, order",
    [
        pytest.param(*each, marks=() if each == ("momentum", 2) else pytest.mark.slow)
        for each in product(OPTIMIZERS, (1, 2))
    ],
)
def test_memory_modes_agree_on_the_gradient_of_everything(x64, name, order):
    """Of the start, of rates in the update rule, of what the loss closes over and of the images."""
    theta, task = in_float64(MODEL.init(jax.random.key(0))), in_float64(small_task())
    everything = dict(
        theta=theta,
        rate=jax.tree.map(lambda p: 1 + 0.1 * p, random_like(theta, 1)),
        anchor=random_like(theta, 2),
        image=task.support.image,
    )

    def query_loss(learned, memory):
        def proximal(phi, examples, key):
            away = jax.tree.map(lambda a, b: a - b, phi, learned["anchor"])
            return LOSS(phi, examples, key) + 0.15 * optax.tree.norm(away, squared=True)

        phi, _ = adapt(
            proximal,
            learned["theta"],
            task.support._replace(image=learned["image"]),
            whole_support(task.support, 3),
            update=optax.chain(OPTIMIZERS[name], scale_by(learned["rate"])),
            key=jax.random.key(1),
            order=order,
            memory=memory,
        )
        return LOSS(phi, task.query, None)

    plain, *others = (
        jax.jit(jax.grad(partial(query_loss, memory=memory)))(everything)
        for memory in (PLAIN, REMAT, MIXED)
    )
    learned = ("theta", "rate") if order == 1 else everything
    assert all(optax.tree.norm(plain[part]) > 1e-6 for part in learned)
    for other in others:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-14), plain, other
        )


@cache
def needed(steps, memory):
    """Give the bytes that the gradient of a walk needs."""
    theta, support = MODEL.init(jax.random.key(0)), small_task().support

    def query_loss(p):
        phi, _ = adapt(
            LOSS, p, support, whole_support(support, steps), update=OPTIMIZERS["sgd"],
            key=jax.random.key(1), memory=memory,
        )  # fmt: skip
        return LOSS(phi, support, None)

    found = jax.jit(jax.grad(query_loss)).lower(theta).compile()
    return found.memory_analysis().temp_size_in_bytes


@pytest.mark.parametrize("memory", [REMAT, MIXED])
def test_memory_hardly_grows_with_the_steps(start, memory):
    theta, _ = start
    copies = 15 * sum(a.nbytes for a in jax.tree.leaves(theta))
    assert needed(16, memory) < 1.3 * needed(1, memory) + copies
    assert needed(16, PLAIN) > 3 * needed(1, PLAIN)


def test_watch_sees_every_step(start):
    theta, support = start
    phi, (_, seen) = walked(
        theta, support, whole_support(support, 3), watch=lambda p: p["head"]["bias"]
    )
    assert seen.shape == (3, 1)
    np.testing.assert_array_equal(seen[-1], phi["head"]["bias"])


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_the_second_order_gradient_is_the_finite_difference_of_the_whole(x64, name):
    theta = in_float64(MODEL.init(jax.random.key(0)))
    task = in_float64(small_task())
    towards = random_like(theta)

    @jax.jit
    @jax.value_and_grad
    def both(p):
        phi, _ = adapt(
            LOSS, p, task.support, whole_support(task.support, 2), update=OPTIMIZERS[name],
            key=jax.random.key(1),
        )  # fmt: skip
        return LOSS(phi, task.query, None)

    expected = slope(lambda p: both(p)[0], theta, towards)
    assert along(both(theta)[1], towards) == pytest.approx(expected, rel=1e-6)


def test_the_loss_goes_down(start):
    theta, support = start
    _, (losses, _) = walked(theta, support, whole_support(support, 30), OPTIMIZERS["sgd"])
    assert losses[-1] < losses[0] - 0.05


def test_an_order_that_is_neither_1_nor_2_is_refused(start):
    with pytest.raises(ValueError, match="order is 1 or 2"):
        walked(*start, whole_support(start[1], 1), order=3)


def test_an_inner_adam_stays_finite_where_a_gradient_is_zero(start):
    # the first layer of a network behind a rate of 0 never moves; a bias of a dead slice has
    # gradient 0
    theta = dict(a=jnp.ones(2), b=jnp.ones(2))

    def loss(p, examples, key):
        return (p["a"] ** 2).sum() + 0 * p["b"].sum() + examples.image.mean()

    def outcome(p):
        phi, _ = adapt(
            loss,
            p,
            start[1],
            whole_support(start[1], 2),
            update=OPTIMIZERS["adam"],
            key=jax.random.key(0),
        )
        return loss(phi, start[1], None)

    gradient = jax.jit(jax.grad(outcome))(theta)
    assert all(np.isfinite(a).all() for a in jax.tree.leaves(gradient))
