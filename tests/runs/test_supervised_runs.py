"""From shards to a table without support: one organ, labelled patients, others who are tested."""

import dataclasses
import re

import nibabel as nib
import numpy as np
import pytest

from jaxmeta.commands import test
from jaxmeta.errors import BadInput
from jaxmeta.inference.predict import Options, predict
from jaxmeta.methods.supervised import Supervised
from jaxmeta.runs.checks import check
from jaxmeta.runs.presets import with_method
from jaxmeta.runs.run import open_run
from jaxmeta.runs.setup import gather
from jaxmeta.runs.train import meta_train
from jaxmeta.tasks.source import load_task


@pytest.fixture(scope="module")
def asked(config, tmp_path_factory):
    """The configuration of a small run."""
    return dataclasses.replace(
        with_method(config, Supervised()),
        workdir=tmp_path_factory.mktemp("supervised") / "run",
        organ="Heart",
        labelled=("2",),
        test_patients=("1",),
        test_organs=(),
        val_organs=(),
        augment=dataclasses.replace(config.augment, invert=0.0),
        tasks=dataclasses.replace(config.tasks, queries=1),
        outer=dataclasses.replace(config.outer, rate=0.05),
        steps=60,
        checkpoint_every=60,
    )


@pytest.fixture(scope="module")
def learned(asked):
    """The folder of that run, trained."""
    return meta_train(asked)


def test_it_learns_from_the_labelled_alone(asked):
    given = gather(asked)
    division, volumes = given.division, given.shards.volumes
    assert (len(division.labelled), len(division.test_patients)) == (2, 1)
    for index in range(6):
        episode = given.source.draw(0, index)
        assert {volumes[v].patient for v, _ in episode.support} <= set(division.labelled)
        task = load_task(given.source, 0, index)
        assert task.support.valid.all() and not task.query.valid.any()


def test_whole_volumes_of_the_tested_are_scored_without_support(learned, capsys):
    test.test(test.Options(run=(learned,)))
    (report,) = learned.rglob("report.md")
    text = report.read_text()
    assert "no support: labels in training alone" in text
    run = open_run(learned)
    masks = list(learned.rglob("predictions/*.nii.gz"))
    assert len(masks) >= 1 and run.split.labelled
    assert re.search(r"adapted", text)


def test_it_has_learned_something(learned, shards):
    """The organ is brighter than what is around it: sixty steps find it in part."""
    text = next(learned.rglob("scores.csv")).read_text().splitlines()
    dice = np.array([float(line.split(",")[text[0].split(",").index("dice")]) for line in text[1:]])
    assert np.isfinite(dice).all() and dice.mean() > 0.3


def test_it_predicts_without_support(learned, scanned, tmp_path, capsys):
    """As the test scores it: the same voxels of the same scan."""
    run = open_run(learned)
    (tested,) = run.split.test_patients
    name = tested.rpartition("/")[2]
    image = scanned / "chest" / "imagesTr" / f"{name}.nii.gz"
    how = dict(run=learned, image=(image,), output=tmp_path)
    (mask,) = predict(Options(**how))
    test.test(test.Options(run=(learned,)))
    (scored,) = learned.rglob(f"*{name}*.nii.gz")
    found = [np.asarray(nib.load(path).dataobj) > 0 for path in (mask, scored)]
    np.testing.assert_array_equal(*found)
    assert found[0].any() and f"heart, as {learned} has learned it" in capsys.readouterr().out
    with pytest.raises(BadInput, match="has learned heart from labelled patients: leave `support`"):
        predict(Options(**how, support=(f"{image}:{image}:1",)))


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(organ=""), "supervised needs `organ`"),
        (dict(labelled=()), "supervised needs `labelled`"),
        (dict(test_patients=()), "supervised needs `test_patients`"),
        (dict(test_organs=("spleen",)), "`test_organs` with supervised"),
        (dict(protocol="alpnet"), "`protocol=alpnet` with supervised"),
        (dict(tasks=dict(kind="supervoxels")), "`tasks.kind=episodes`"),
        (
            dict(tasks=dict(negative_fraction=0.5)),
            "`tasks.negative_fraction` with labelled patients",
        ),
    ],
)
def test_what_it_cannot_be_made_of_is_refused(asked, change, message):
    if "tasks" in change:
        change = dict(tasks=dataclasses.replace(asked.tasks, **change["tasks"]))
    with pytest.raises(BadInput, match=message):
        check(dataclasses.replace(asked, **change))


@pytest.mark.parametrize("name", ["organ", "labelled", "unlabelled"])
def test_labelled_patients_are_of_no_few_shot_method(config, name):
    value = "heart" if name == "organ" else ("2",)
    with pytest.raises(BadInput, match=f"`{name}` with meta-sgd"):
        check(dataclasses.replace(config, **{name: value}))
