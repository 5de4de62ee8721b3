"""The trainer: order, checkpoints, a task that is not a number, and stopping as if it never
were."""

import itertools
import json

import jax
import numpy as np
import optax
import pytest

from jaxmeta.algorithms import maml
from jaxmeta.errors import BadInput
from jaxmeta.learners.episodic import episodic
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.training import checkpoint, metrics_log
from jaxmeta.training.loop import cost, train
from jaxmeta.training.validation import mean_over_structures, validation
from tests.helpers.small import LOSS, MODEL, small_batch

LEARNER = episodic(maml(MODEL, LOSS, steps=1, rate=0.1), optax.adam(1e-2), over_tasks)


class Batches:
    """An iterator whose place is its state, as Grain's is."""

    def __init__(self):
        self.place = 0

    def __iter__(self):
        return self

    def __next__(self):
        self.place += 1
        return jax.device_get(
            jax.tree.map(lambda a: np.roll(a, self.place, axis=0), small_batch(2))
        )

    async def save(self, directory):
        async def write():
            path = await directory.await_creation()
            (path / "place.json").write_text(json.dumps(self.place))

        return write()

    async def load(self, directory, abstract=None):
        self.place = json.loads((directory / "place.json").read_text())

        async def done():
            return self

        return done()


@pytest.fixture(scope="module")
def step():
    state = LEARNER.init(jax.random.key(0))
    return jax.jit(LEARNER.step).lower(state, small_batch(2)).compile()


def run(step, folder, *, until, every=2, steps=6):
    """Train in a folder until `until` steps have been made, resuming what is there."""
    batches, state = Batches(), LEARNER.init(jax.random.key(0))
    made = itertools.count()
    with checkpoint.open_checkpoints(folder / "checkpoints") as checkpoints:
        start, state = checkpoint.resume(checkpoints, state, batches)
        left = until - start
        return train(
            step,
            state,
            batches,
            start=start,
            steps=steps,
            every=every,
            place=lambda batch: batch,
            log=metrics_log.metrics_file(folder / "metrics.jsonl", after=start),
            save=lambda number, state, due: checkpoint.save(
                checkpoints, number, state, batches, None
            ),
            interrupted=lambda: next(made) >= left,
        )


def losses(folder):
    return [
        (line["step"], line["loss"]) for line in metrics_log.read_metrics(folder / "metrics.jsonl")
    ]


def test_stop_and_resume_equals_never_stopping(step, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    for folder in (whole, parts):
        folder.mkdir()
    number, state, spent = run(step, whole, until=6)
    assert number == 6 and set(spent) == {"data", "device", "checkpoint"}
    for until in (3, 4, 6):
        last, again, _ = run(step, parts, until=until)
        assert last == until
    jax.tree.map(np.testing.assert_array_equal, state, again)
    assert losses(whole) == losses(parts)
    assert [number for number, _ in losses(whole)] == [1, 2, 3, 4, 5, 6]


def test_a_killed_run_repeats_what_was_behind_its_checkpoint(step, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        folder.mkdir()
    run(step, whole, until=6)

    def die(number, state):
        raise KeyboardInterrupt

    with pytest.raises(
        KeyboardInterrupt
    ):  # at the checkpoint of step 4: only that of step 2 is there
        batches, state = Batches(), LEARNER.init(jax.random.key(0))
        with checkpoint.open_checkpoints(killed / "checkpoints") as checkpoints:
            train(
                step, state, batches, start=0, steps=6, every=2, place=lambda batch: batch,
                log=metrics_log.metrics_file(killed / "metrics.jsonl"),
                save=lambda n, s, due: die(n, s) if n == 4 else checkpoint.save(
                    checkpoints, n, s, batches, None
                ),
            )  # fmt: skip
    with (killed / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "lo')  # what a kill in the middle of a line leaves
    assert [number for number, _ in losses(killed)] == [1, 2, 3, 4]
    run(step, killed, until=6)
    assert losses(whole) == losses(killed)


def test_a_loss_that_is_not_a_number_names_its_task(step):
    def poisoned(state, batch):
        state, metrics = step(state, batch)
        metrics["per_task"]["loss"] = metrics["per_task"]["loss"].at[1].set(np.nan)
        return state, metrics

    with pytest.raises(BadInput, match="step 1: the loss is nan in task 0 of the fox"):
        train(
            poisoned,
            LEARNER.init(jax.random.key(0)),
            Batches(),
            start=0,
            steps=2,
            every=1,
            place=lambda batch: batch,
            log=lambda number, values: None,
            save=lambda number, state, due: None,
            name_task=lambda per_task, place: f"task {per_task['index'][place]} of the fox",
        )


def test_the_best_checkpoint_is_kept_beside_the_latest(tmp_path):
    state = LEARNER.init(jax.random.key(0))
    with checkpoint.open_checkpoints(tmp_path / "c") as checkpoints:
        for number, score in ((1, 0.2), (2, 0.9), (3, 0.5), (4, 0.6)):
            now = state._replace(step=state.step + number)
            checkpoint.save(checkpoints, number, now, Batches(), score)
        assert {c.step for c in checkpoints.checkpoints} == {2, 4}
    number, score, best = checkpoint.load_best(tmp_path / "c", state)
    assert (number, score, int(best.step)) == (2, 0.9, 2)
    with pytest.raises(BadInput, match="holds no checkpoints"):
        checkpoint.load_best(tmp_path / "nowhere", state)


def test_training_improves_the_loss_of_its_own_tasks(step):
    state, batch = LEARNER.init(jax.random.key(0)), small_batch(2)
    values = []
    for _ in range(30):
        state, metrics = step(state, batch)
        values.append(float(metrics["per_task"]["loss"].mean()))
    assert values[-1] < values[0] - 0.05


def test_validation_adapts_to_each_task_by_itself():
    state, batch = LEARNER.init(jax.random.key(0)), small_batch(4)
    dice = validation(LEARNER.predictor)(state, batch)
    alone = jax.tree.map(lambda a: a[2:3], batch)
    np.testing.assert_allclose(validation(LEARNER.predictor)(state, alone), dice[2:3], rtol=1e-5)


def test_structures_weigh_alike_however_many_tasks_they_have():
    numbers = np.array([7, 7, 7, 8])
    assert mean_over_structures(np.array([0.2, 0.4, 0.6, 1.0]), numbers) == pytest.approx(0.7)


def test_the_cost_of_a_step_is_known_before_it_runs(step):
    needs = cost(step)
    assert needs["temporary_mib"] > 0 and needs["gflop"] > 0
