"""A run of the in-context reader: trained on synthetic cohorts, chosen and tested on scans."""

import dataclasses
import shutil
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.cohorts.synthesize import CohortShape, synthesize
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.segmenter import networks
from jaxmeta.evaluation.trial import Support, places
from jaxmeta.learners.learner import Predictor
from jaxmeta.methods.in_context import InContext
from jaxmeta.methods.options import Episodes
from jaxmeta.methods.promptable import Promptable
from jaxmeta.methods.transfer import Transfer
from jaxmeta.reports.background import training
from jaxmeta.runs.build import changed, task_source
from jaxmeta.runs.checks import check
from jaxmeta.runs.presets import PRESETS, STILL, with_method
from jaxmeta.runs.run import open_run
from jaxmeta.runs.setup import gather
from jaxmeta.runs.signature import volumes_of
from jaxmeta.runs.train import meta_train
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import split
from jaxmeta.tasks.prompter import HEIGHTS
from jaxmeta.tasks.source import load_task
from jaxmeta.tasks.task import Examples, Task
from jaxmeta.training import metrics_log


@pytest.fixture(scope="module")
def reading(config, tmp_path_factory):
    """The configuration of a small run."""
    tasks = Episodes(kind="synthetic", size=16, spacing=0.0, shots=2, queries=2, batch_size=2)
    return dataclasses.replace(
        with_method(config, InContext(widths=(8, 16), heads=2, rounds=1)),
        workdir=tmp_path_factory.mktemp("reading") / "run",
        tasks=tasks,
        steps=4,
    )


@pytest.fixture(scope="module")
def read(reading):
    """The folder of that run, trained."""
    return meta_train(reading)


def test_it_learns_from_no_scan_and_scans_choose(read, reading):
    run = open_run(read)
    assert run.config.structures == ("synthetic/organ",) and run.config.pixels == ()
    own = run.provenance[0]
    assert own.how == "trained on" and volumes_of(read)
    assert not (own.contents or own.organs or own.patients or own.unknown)
    assert run.provenance[1].how == "chosen on" and run.provenance[1].organs == ("heart",)
    lines = metrics_log.read_metrics(read / "metrics.jsonl")
    steps = [line for line in lines if "loss" in line]
    assert [line["structures"] for line in steps] == [[0, 0]] * 4
    assert [line["step"] for line in lines if "validation_dice" in line] == [2, 4]


def test_every_organ_may_be_held_out_for_the_test(reading):
    organs = ("liver", "kidney", "spleen", "heart", "lung")
    given = gather(dataclasses.replace(reading, test_organs=organs, val_organs=()))
    assert given.division.train_organs == () and given.division.train_patients == ()
    assert not given.provenance[0].organs and len(given.division.test_patients) == 10


def test_stopped_and_resumed_it_is_the_run_that_never_stopped(read, reading, tmp_path):
    again = dataclasses.replace(reading, workdir=tmp_path / "run")
    shutil.copytree(read, again.workdir)
    shutil.rmtree(again.workdir / "checkpoints" / "4")
    meta_train(again)
    one, other = (
        metrics_log.read_metrics(folder / "metrics.jsonl") for folder in (read, again.workdir)
    )
    for before, after in zip(one, other, strict=True):
        assert {k: v for k, v in before.items() if k != "seconds"} == {
            k: v for k, v in after.items() if k != "seconds"
        }


def test_a_step_sees_the_cohort_of_its_seed_and_index(reading):
    reading = dataclasses.replace(reading, seed=3)
    task = Task((), (), jnp.array([1, 2], jnp.uint32), jnp.array([7, 0]))
    made = jax.jit(changed(reading))(task)
    expected = jax.jit(lambda: synthesize(3, 7, CohortShape(2, 2, 16, 0.25)))()
    assert reading.augment == STILL
    np.testing.assert_allclose(made.support.image, expected.support.image, atol=1e-4)
    np.testing.assert_array_equal(made.query.mask, expected.query.mask)


def test_tasks_of_scans_say_how_high_their_slices_lie(reading, shards):
    division = split(shards, test_organs=["spleen"], val_organs=["heart"], seed=0)
    validating = pool(shards, division, "val", single_patients=True)
    source = task_source(reading, validating, training=False)
    episode, task = source.draw(0, 1), load_task(source, 0, 1)
    for slices, examples in ((episode.support, task.support), (episode.query, task.query)):
        counts = [shards.volumes[volume].counts["heart"] for volume, _ in slices]
        expected = [places(len(c))[n] for c, (_, n) in zip(counts, slices, strict=True)]
        np.testing.assert_allclose(examples.prompt[: len(slices)], expected, atol=1e-6)
        assert (examples.prompt[len(slices) :] == -1).all()


@pytest.mark.parametrize("high", [True, False])
def test_a_test_gives_heights_to_who_goes_by_them(high):
    def predictor(state) -> Predictor:
        def adapt(support, key):
            return support.prompt.sum() if high else jnp.zeros(())

        def predict(phi, image, prompt=()):
            told = prompt if high else jnp.zeros(len(image))
            assert isinstance(prompt, tuple) != high
            return jnp.ones_like(image) * (told[:, None, None, None] + phi)

        return Predictor(adapt, predict)

    image = np.zeros((2, 3, 4, 4, 1), np.float32)
    examples = Examples(image, np.zeros((2, 3, 4, 4), np.uint8), np.ones((2, 3), bool))
    place = np.array([[0.0, 0.5, 1.0], [0.25, 0.25, 0.5]], np.float32)
    make = networks(predictor, support_sets=2, prompter=HEIGHTS if high else None)
    row = make("row", ())
    slices = (("scan:0", "scan:1", "scan:2"),) * 2
    fitted = row.fit(Support(examples, place, (("p",),) * 2, slices), np.zeros((2, 2), np.uint32))
    height = np.array([0.0, 0.1, 0.2], np.float32)
    told = (row.tell(fitted, image[0], height),) if high else ()
    found = row.segment(fitted, image[0], height, *told)
    logits = np.array([[0, 0.1, 0.2]]) + place.sum(1)[:, None] if high else np.zeros((2, 3))
    np.testing.assert_allclose(found[..., 0, 0], 1 / (1 + np.exp(-logits)), atol=1e-6)


@pytest.mark.parametrize(
    "method, tasks, message",
    [
        (Transfer(), {}, "with transfer: they have no output each"),
        (Promptable(), {}, "with sam: they have a support"),
        (InContext(), dict(least_pixels=9), "`tasks.least_pixels` with `tasks.kind=synthetic`"),
        (InContext(), dict(size=20), "4 levels need a multiple of 8"),
        (InContext(widths=(8, 12)), {}, "must be a multiple of 8"),
        (InContext(heads=5), {}, "`method.heads=5`: does not split 64 channels"),
        (InContext(rounds=0), {}, "`method.rounds=0`: must be at least 1"),
    ],
)
def test_what_it_cannot_be_made_of_is_refused(config, method, tasks, message):
    given = with_method(config, method)
    tasks = dataclasses.replace(Episodes(kind="synthetic"), **tasks)
    with pytest.raises(BadInput, match=message):
        check(dataclasses.replace(given, tasks=tasks))


def test_the_preset_is_the_method_on_synthetic_cohorts():
    config = PRESETS["in-context"].config
    check(config)
    assert config.tasks.kind == "synthetic" and config.algorithm == "in-context"


def test_a_report_says_that_no_scan_was_learned_from(read):
    outcome = SimpleNamespace(folder=read, step=4, split=open_run(read).split)
    told = training(outcome)
    assert "learned from synthetic cohorts, of no scan: 4 steps of 2 tasks" in told
