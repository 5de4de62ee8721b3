"""MetaMedSeg's weights: sums, limits, and the coefficients of the released code."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.algorithms import metamedseg
from jaxmeta.algorithms import task_weighting as rules
from jaxmeta.learners.episodic import episodic
from jaxmeta.methods.metamedseg.released import compounding
from jaxmeta.parallel import devices
from jaxmeta.parallel.over_tasks import over_tasks
from tests.helpers.matrix import pixel_loss
from tests.helpers.small import MODEL, in_float64, small_batch, small_task

RULES = {
    "uniform": rules.uniform,
    "mean": rules.distance_to_mean,
    "meta": rules.distance_to_meta,
    "loss": rules.loss,
    "loss difference": rules.loss_difference,
    "target": rules.target_validation,
}
# each length is compiled
scores = st.sampled_from([1, 2, 5]).flatmap(
    lambda n: st.lists(st.floats(0, 10), min_size=n, max_size=n)
)
ADAM = optax.adam(0.01)
TASKS = 4


def weights(d, **how):
    return np.asarray(rules.weighting(lambda s: s["d"], **how)(dict(d=jnp.asarray(d, jnp.float32))))


@given(scores)
def test_weights_sum_to_about_one_and_to_one_when_inverted(d):
    total = (sum(d) + len(d) * 1e-4) / (sum(d) + 1e-4)
    assert weights(d).sum() == pytest.approx(total, rel=1e-4)
    if len(d) > 1 and sum(d) > 1e-2:
        assert weights(d, invert=True).sum() == pytest.approx(1, rel=1e-4)


@given(scores)
def test_inversion_turns_the_order_around(d):
    w, turned = weights(d), weights(d, invert=True)
    for i, j in zip(np.argsort(w), np.argsort(w)[1:]):
        assert turned[i] >= turned[j] - 1e-6


def test_one_task_alone_has_weight_one():
    assert weights([3.0]) == pytest.approx(1) and weights([3.0], invert=True) == 1


def test_equal_scores_are_the_average_either_way():
    np.testing.assert_allclose(weights([2.0] * 5), 0.2, rtol=1e-3)
    np.testing.assert_allclose(weights([2.0] * 5, invert=True), 0.2, rtol=1e-4)


@pytest.mark.parametrize(("tasks", "total", "first"), [(5, 0.25, 3.2e-4), (8, 0.143, 6e-8)])
def test_the_released_code_compounds_equal_weights_to_powers(tasks, total, first):
    """Its coefficients as derived: only the task drawn last matters, and the step is 4 to 7 times
    smaller."""
    found = compounding(rules.weighting(lambda s: s["d"]))
    w = np.asarray(found(dict(d=jnp.full(tasks, 1e3))))
    np.testing.assert_allclose(w, (1 / tasks) ** np.arange(tasks, 0, -1), rtol=1e-4)
    assert w.sum() == pytest.approx(total, rel=2e-3)
    assert w[0] == pytest.approx(first, rel=0.01)


def made(task_weights=None, **options):
    target = small_task(7).query
    options = dict(epochs=3, inner=ADAM) | options
    return metamedseg(MODEL, pixel_loss(MODEL), task_weights=task_weights, target=target, **options)


QUICK = {("mean", True)}  # the one that sees more than its own task


@pytest.mark.parametrize(
    ("rule", "invert"),
    [
        pytest.param(*case, marks=() if case in QUICK else pytest.mark.slow)
        for case in itertools.product(RULES, [False, True])
    ],
)
def test_chunked_and_sharded_and_whole_agree_on_every_rule(x64, rule, invert):
    algorithm = made(rules.weighting(RULES[rule], invert=invert))
    meta, batch = in_float64(algorithm.init(jax.random.key(0))), in_float64(small_batch(TASKS))
    found = []
    for how in (dict(chunk=TASKS), dict(chunk=2), dict(mesh=devices.task_mesh(TASKS))):
        spread = over_tasks(algorithm.outer, task_weights=algorithm.task_weights, **how)
        found.append(jax.device_get(jax.jit(spread)(meta, batch)))
    single = jax.jit(algorithm.outer)
    own = [single(meta, jax.tree.map(lambda a: a[t], batch))[0] for t in range(TASKS)]
    w = algorithm.task_weights(jax.tree.map(jnp.asarray, found[0][1]))
    expected = jax.tree.map(lambda *d: jnp.tensordot(w, jnp.stack(d), 1), *own)
    for meta_gradient, _ in found:
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-12),
            meta_gradient,
            expected,
        )


def test_one_task_at_beta_one_ends_where_the_task_does():
    algorithm = made(rules.weighting(rules.distance_to_meta))
    learner = episodic(algorithm, optax.sgd(1.0), over_tasks)
    state, batch = learner.init(jax.random.key(0)), small_batch(1)
    after, _ = jax.jit(learner.step)(state, batch)
    task = jax.tree.map(lambda a: a[0], batch)
    meta_gradient, _ = jax.jit(algorithm.outer)(state.meta, task)
    phi = jax.tree.map(jnp.subtract, state.meta.learned, meta_gradient)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), after.meta.learned, phi
    )


def test_statistics_are_those_of_the_walk():
    algorithm = made(epochs=2, decay=1.0)
    meta, task = algorithm.init(jax.random.key(0)), small_task(1)
    meta_gradient, found = jax.jit(algorithm.outer)(meta, task)
    assert found["moved"] == pytest.approx(
        float(optax.tree.norm(meta_gradient, squared=True)), rel=1e-5
    )
    change = abs(found["inner_last"] - found["inner_first"])
    assert found["largest_change"] == pytest.approx(float(change), rel=1e-5)
    assert 0 <= found["target_iou"] <= 1


def test_fine_tuning_has_a_rule_and_a_length_of_its_own():
    task, key = small_task(1), jax.random.key(1)
    meta = made().init(jax.random.key(0))
    same = dict(tuning_decay=0.8)
    usual = made(**same).adapt(meta, task.support, key)
    for changed in (
        dict(tuning_epochs=1),
        dict(tuning=optax.sgd(0.3)),
        dict(tuning_decay=0.1, every=1),
    ):
        other = made(**same | changed).adapt(meta, task.support, key)
        gap = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), usual, other)
        assert max(jax.tree.leaves(gap)) > 1e-4
