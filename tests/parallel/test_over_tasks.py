"""Properties of the task axis: however tasks are spread, the meta-gradient is the mean of their
own."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import export

from jaxmeta.algorithms import maml
from jaxmeta.errors import BadInput
from jaxmeta.learners.episodic import episodic
from jaxmeta.parallel import devices
from jaxmeta.parallel.over_tasks import over_tasks
from tests.helpers.small import LOSS, MODEL, in_float64, small_batch

ALGORITHM = maml(MODEL, LOSS, steps=2, rate=0.1, learn_rate=True)
TASKS = 4


def close(a, b, rtol=1e-10, atol=1e-12):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


@pytest.fixture
def given(x64):
    return in_float64(ALGORITHM.init(jax.random.key(0))), in_float64(small_batch(TASKS))


@cache
def singles():
    """Give what `outer` makes of each task of `given` by itself."""
    single = jax.jit(ALGORITHM.outer)
    meta, batch = in_float64(ALGORITHM.init(jax.random.key(0))), in_float64(small_batch(TASKS))
    return [jax.device_get(single(meta, jax.tree.map(lambda a: a[t], batch))) for t in range(TASKS)]


def by_hand(weights=np.full(TASKS, 1 / TASKS)):
    meta_gradient = jax.tree.map(
        lambda *d: sum(w * x for w, x in zip(weights, d)), *[r[0] for r in singles()]
    )
    return meta_gradient, jax.tree.map(lambda *s: np.stack(s), *[r[1] for r in singles()])


@cache
def chunked(chunk):
    return jax.jit(over_tasks(ALGORITHM.outer, chunk=chunk))


def test_map_and_vmap_and_chunks_equal_the_mean_of_single_tasks(given):
    for chunk in (1, 2, 4):
        close(chunked(chunk)(*given), by_hand())


@pytest.mark.parametrize("devices_asked", [2, 4])
def test_sharded_equals_the_mean_of_single_tasks(given, devices_asked):
    meta, batch = given
    mesh = jax.sharding.Mesh(np.asarray(jax.devices()[:devices_asked]), ("task",))
    spread = jax.jit(over_tasks(ALGORITHM.outer, mesh=mesh))
    result = spread(devices.replicate(meta, mesh), devices.place(jax.device_get(batch), mesh))
    close(jax.device_get(result), by_hand())


@pytest.mark.parametrize("sharded", [False, True])
def test_weights_see_all_tasks_of_the_step(given, sharded):
    meta, batch = given

    def task_weights(statistics):
        return jax.nn.softmax(statistics["loss"] * 10)

    statistics = by_hand()[1]
    expected = by_hand(np.asarray(task_weights(statistics)))[0]
    mesh = devices.task_mesh(TASKS) if sharded else None
    meta_gradient, _ = jax.jit(over_tasks(ALGORITHM.outer, mesh=mesh, task_weights=task_weights))(
        meta, batch
    )
    close(jax.device_get(meta_gradient), expected)


@pytest.mark.parametrize("how", [dict(chunk=4), dict(chunk=2), dict(sharded=True)])
def test_weighed_tasks_are_told_how_far_each_meta_gradient_is_from_the_mean(given, how):
    meta, batch = given
    mean = by_hand()[0]
    apart = [
        sum(np.square(a - b).sum() for a, b in zip(*map(jax.tree.leaves, (own, mean))))
        for own, _ in singles()
    ]
    mesh = devices.task_mesh(TASKS) if how.pop("sharded", False) else None
    spread = over_tasks(ALGORITHM.outer, mesh=mesh, task_weights=lambda s: s["deviation"], **how)
    meta_gradient, statistics = jax.jit(spread)(meta, batch)
    close(jax.device_get(statistics["deviation"]), np.stack(apart))
    close(jax.device_get(meta_gradient), by_hand(np.stack(apart))[0])


def test_tasks_do_not_leak_into_each_other(given):
    meta, batch = given
    spread = chunked(2)
    other = jax.tree.map(lambda a: a.at[1].set(a[3]), batch)
    before, after = spread(meta, batch)[1], spread(meta, other)[1]
    for name in before:
        np.testing.assert_array_equal(
            before[name][jnp.array([0, 2, 3])], after[name][jnp.array([0, 2, 3])]
        )
    assert before["loss"][1] != after["loss"][1]


def test_a_batch_that_does_not_split_into_chunks_is_refused(given):
    with pytest.raises(ValueError, match="4 tasks on a device do not split into chunks of 3"):
        over_tasks(ALGORITHM.outer, chunk=3)(*given)


def test_the_mesh_takes_the_most_devices_that_share_the_tasks():
    assert [devices.task_mesh(n).size for n in (1, 2, 3, 4, 6, 8)] == [1, 2, 3, 4, 3, 4]


def test_every_chip_gets_as_many_tasks_unless_another_number_was_asked_for():
    assert [devices.whole_tasks(None, 4, n) for n in (1, 3, 4, 8)] == [4, 6, 4, 8]
    assert devices.whole_tasks(16, 4, 8) == 16
    with pytest.raises(BadInput, match="6 tasks .* over 8 devices: ask for 8, or leave the number"):
        devices.whole_tasks(6, 4, 8)


@pytest.mark.parametrize("platform", ["tpu", "cuda"])
def test_the_step_lowers_for_accelerators(platform):
    learner = episodic(ALGORITHM, optax.adam(1e-3), partial(over_tasks, chunk=2))
    state = jax.eval_shape(learner.init, jax.random.key(0))
    batch = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, small_batch(TASKS)))
    exported = export.export(jax.jit(learner.step), platforms=[platform])(state, batch)
    assert exported.platforms == (platform,)
    assert len(exported.mlir_module_serialized) > 10_000


def test_a_second_call_does_not_trace_again():
    traces = []

    def outer(meta, task):
        traces.append(1)
        return ALGORITHM.outer(meta, task)

    learner = episodic(ALGORITHM._replace(outer=outer), optax.adam(1e-3), over_tasks)
    step = jax.jit(learner.step)
    state = learner.init(jax.random.key(0))
    state, _ = step(state, small_batch(2))
    count = len(traces)
    step(state, small_batch(2))
    assert len(traces) == count > 0
