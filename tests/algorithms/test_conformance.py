"""One list of algorithms (`matrix.py`), one list of properties that each of them must have."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmeta.inner_loop.rematerialise import MIXED, PLAIN
from jaxmeta.learners.episodic import episodic
from jaxmeta.parallel import devices
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.training import checkpoint
from tests.helpers.matrix import CASES, MADE, STEPS, VARIANTS, of_the_prediction, pixel_loss
from tests.helpers.small import along, in_float64, random_like, slope, small_batch, small_task

TASKS, DEVICES = 8, 4
ALL = CASES | VARIANTS


def rows(wanted=lambda case: case.promised, *, quick=tuple(ALL)):
    """List the cases that a property is for; those that are not quick are run with the slow
    tests."""
    return [
        pytest.param(name, marks=() if name in quick else pytest.mark.slow)
        for name, case in ALL.items()
        if wanted(case)
    ]


@cache
def made(name):
    return ALL[name].make(pixel_loss)


@cache
def outer(name, **options):
    """Compile `outer` once for all properties, in float32 and in float64."""
    return jax.jit((ALL[name].make(pixel_loss, **options) if options else made(name)).outer)


def beginning(algorithm, dtype=jnp.float32):
    """Begin a training that has made `MADE` steps."""
    meta = algorithm.init(jax.random.key(0))
    for _ in range(MADE):
        meta = algorithm.advance(meta)
    return in_float64(meta) if dtype == jnp.float64 else meta


def close(a, b, rtol, atol):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)


@pytest.mark.parametrize("name", rows(quick=tuple(CASES)))
def test_the_direction_is_the_finite_difference_that_the_algorithm_promises(x64, name):
    case, algorithm = ALL[name], made(name)
    task, meta = in_float64(small_task(1)), beginning(algorithm, jnp.float64)
    towards = random_like(meta.learned)
    meta_gradient, _ = outer(name)(meta, task)
    expected = slope(jax.jit(case.promised(case, meta.learned, task)), meta.learned, towards)
    assert along(meta_gradient, towards) == pytest.approx(expected, rel=1e-6)
    assert abs(expected) > 1e-4


@cache
def walked(name):
    """Adapt in few steps, compiled; returns the algorithm, what it was given and what came of
    it."""
    few = dict(steps=STEPS) if "steps" in ALL[name].has else {}
    algorithm = ALL[name].make(pixel_loss, **few)
    given = beginning(algorithm), small_task(1).support, jax.random.key(2)
    return algorithm, given, jax.jit(algorithm.adapt)(*given)


# FOMAML walks as MAML does
@pytest.mark.parametrize("name", rows(lambda case: True, quick=CASES.keys() - {"fomaml"}))
def test_the_compiled_walk_is_a_python_loop(name):
    algorithm, given, compiled = walked(name)
    with jax.disable_jit():  # a scan is a loop then
        looped = algorithm.adapt(*given)
    close(compiled, looped, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", rows(lambda case: case.promised is not of_the_prediction))
def test_adapting_lowers_the_support_loss(name):
    algorithm, (meta, support, key), phi = walked(name)
    loss = pixel_loss(ALL[name].model)
    assert algorithm.predict(meta, phi, support.image).shape == (3, 8, 8, 1)
    assert loss(phi, support, None) < loss(starting(name, meta, key), support, None)


def starting(name, meta, key):
    """Give the variables that a walk starts from."""
    return ALL[name].start(meta, ALL[name].model.init(jax.random.split(key)[0]))


@pytest.mark.parametrize("name", rows(quick=("maml++", "reptile")))
def test_however_tasks_are_spread_the_direction_is_the_mean_of_their_own(name):
    algorithm, batch = made(name), small_batch(TASKS)
    meta = beginning(algorithm)
    singles = [outer(name)(meta, jax.tree.map(lambda a: a[t], batch)) for t in range(TASKS)]
    meta_gradient = jax.tree.map(lambda *d: np.mean(d, axis=0), *[d for d, _ in singles])
    expected = meta_gradient, jax.tree.map(lambda *s: np.stack(s), *[s for _, s in singles])
    mesh = devices.task_mesh(TASKS)
    assert mesh.size == DEVICES  # each does two tasks, one after the other
    for how in (dict(chunk=TASKS), dict(mesh=mesh, chunk=1)):
        found = jax.jit(over_tasks(algorithm.outer, **how))(meta, batch)
        close(jax.device_get(found), expected, rtol=2e-4, atol=2e-6)


@pytest.mark.parametrize("name", rows(quick=tuple(CASES)))
def test_permuted_query_labels_and_images_leave_the_adapted_parameters_bit_equal(name):
    """What the query is judged by: the variables where a walk ended, and what the model says."""
    seen, task = [], small_task(1)
    probe = small_task(2).query.image

    def spied(model):
        loss = pixel_loss(model)

        def judged(variables, examples, key):
            if examples.mask.shape == task.query.mask.shape:
                jax.debug.callback(
                    lambda *v: seen.append(v), variables, model.apply(variables, probe)[0]
                )
            return loss(variables, examples, key)

        return judged

    algorithm = ALL[name].make(spied)
    meta, judge = beginning(algorithm), jax.jit(algorithm.outer)
    query = task.query
    queries = [
        query,
        query._replace(mask=query.mask[::-1, ::-1]),
        query._replace(image=query.image[::-1, :, ::-1]),
    ]
    losses, adapted = [], []
    for query in queries:
        seen.clear()
        losses.append(float(judge(meta, task._replace(query=query))[1]["loss"]))
        jax.effects_barrier()
        adapted.append(list(seen))
    assert len(set(losses)) == len(queries)
    if not ALL[name].inner_loop:
        return
    assert adapted[0]
    for other in adapted[1:]:
        jax.tree.map(np.testing.assert_array_equal, adapted[0], other)


@pytest.mark.parametrize(
    "name", rows(lambda case: "order" in case.has, quick=CASES.keys() - {"anil"})
)
def test_first_order_is_second_order_at_rate_zero_and_not_above(x64, name):
    task = in_float64(small_task(1))

    def gap(**options):
        algorithm = ALL[name].make(pixel_loss, **options)
        meta = beginning(algorithm, jnp.float64)
        if meta.learned.get("rate"):  # then it is no part of what is compiled
            options = {}
        first, second = outer(name, order=1, **options), outer(name, **options)
        ends = [compiled(meta, task)[0]["theta"] for compiled in (first, second)]
        return optax.tree.norm(jax.tree.map(jnp.subtract, *ends))

    assert gap(rate=0.0) < 1e-12
    assert gap() > 1e-5


@pytest.mark.parametrize(
    "name", rows(lambda case: "memory" in case.has, quick=("meta-sgd", "maml++"))
)
def test_memory_modes_agree(x64, name):
    task = in_float64(small_task(1))
    meta = beginning(made(name), jnp.float64)
    compiled = [outer(name), outer(name, memory=PLAIN), outer(name, memory=MIXED)]  # first REMAT
    meta_gradients = [of(meta, task)[0] for of in compiled]
    for other in meta_gradients[1:]:
        close(meta_gradients[0], other, rtol=1e-10, atol=1e-14)


@pytest.mark.parametrize("name", rows(quick=("maml++", "imaml")))
def test_a_state_saved_and_restored_goes_on_bit_for_bit_and_nothing_is_traced_again(name, tmp_path):
    traces, algorithm = [], made(name)

    def counted(meta, task):
        traces.append(1)
        return algorithm.outer(meta, task)

    learner = episodic(algorithm._replace(outer=counted), optax.adam(1e-2), over_tasks)
    step, batch = jax.jit(learner.step), small_batch(2)
    state, _ = step(learner.init(jax.random.key(0)), batch)
    count = len(traces)
    with checkpoint.open_checkpoints(tmp_path) as checkpoints:
        checkpoint.save(checkpoints, 1, state, dict(place=np.zeros(1)), None)
    _, _, restored = checkpoint.load_best(tmp_path, learner.init(jax.random.key(1)))
    ends = [step(begun, batch) for begun in (state, restored)]
    jax.tree.map(np.testing.assert_array_equal, *ends)
    assert len(traces) == count > 0
    assert optax.tree.norm(optax.tree.sub(ends[0][0].meta.learned, state.meta.learned)) > 0
