"""MLB-Seg from shards to a table: a network of the labelled, its labels of the rest, and both
together."""

import dataclasses
import json

import jax
import numpy as np
import pytest

from jaxmeta.commands import test
from jaxmeta.data.grid import sliced_shape
from jaxmeta.data.initial_labels import (
    FIRST_STAGE,
    FOLDER,
    TABLE,
    load_probability,
    open_initial_labels,
)
from jaxmeta.errors import BadInput, Occupied
from jaxmeta.evaluation import best_on_test, labelling
from jaxmeta.evaluation.best_on_test import NAME, asked_of_test
from jaxmeta.evaluation.intervals import number
from jaxmeta.evaluation.labelling import label
from jaxmeta.evaluation.scoring import Score
from jaxmeta.evaluation.stages import begun
from jaxmeta.methods.mlb_seg.method import MlbSeg, rate_of, shares_images
from jaxmeta.methods.mlb_seg.released import Released, dilated_masks
from jaxmeta.methods.networks.unet_plus_plus import UnetPlusPlus
from jaxmeta.methods.options import Outer
from jaxmeta.models.model import Trained
from jaxmeta.reports import weights
from jaxmeta.reports.figures import read_scores
from jaxmeta.runs.checks import check
from jaxmeta.runs.identity import alike
from jaxmeta.runs.presets import with_method
from jaxmeta.runs.run import beginning, open_run
from jaxmeta.runs.setup import gather
from jaxmeta.runs.train import WATCHED, meta_train
from jaxmeta.tasks.source import load_task
from jaxmeta.training.metrics_log import read_metrics


@pytest.fixture(scope="module")
def asked(config, tmp_path_factory):
    """The configuration of a small run: the heart, one patient labelled and two not."""
    made = with_method(config, MlbSeg(stage_1_steps=20))
    return dataclasses.replace(
        made,
        workdir=tmp_path_factory.mktemp("mlb") / "run",
        organ="heart",
        labelled=("1",),
        test_patients=("1",),
        test_organs=(),
        val_organs=(),
        tasks=dataclasses.replace(made.tasks, size=config.tasks.size, shots=2, queries=2),
        outer=dataclasses.replace(made.outer, rate=0.05),
        steps=6,
        checkpoint_every=3,
    )


@pytest.fixture(scope="module")
def ready(asked):
    """The configuration whose beginning is trained, and whose labels are written."""
    return begun(asked)


@pytest.fixture(scope="module")
def learned(ready):
    """The folder of that run, trained; the test was asked twice."""
    return meta_train(ready, asked_of_test(ready))


def test_it_begins_with_a_network_of_the_labelled_alone(asked, ready):
    first = open_run(ready.init_from)
    assert ready.init_from == asked.workdir / FIRST_STAGE and first.config.algorithm == "supervised"
    given = gather(ready)
    assert first.split == given.division and len(given.division.unlabelled) == 2
    names = [given.shards.volumes[n].name for n in given.source.pool.unlabelled]
    labels = open_initial_labels(asked.workdir / FOLDER, given.shards, "heart", names)
    assert sorted(labels.volumes) == sorted(names) and names
    number = given.source.pool.unlabelled[0]
    probability = load_probability(labels, given.shards.volumes[number], [0])
    assert 0 <= probability.min() <= probability.max() <= 1 and probability.std() > 0
    task = load_task(given.source, 0, 0)
    seen = {given.shards.volumes[v].patient for v, _ in given.source.draw(0, 0).query}
    assert seen <= set(given.division.unlabelled) and task.query.valid.all()


def test_it_learns_and_says_what_weighs(learned, ready):
    lines = read_metrics(learned / "metrics.jsonl")
    assert len(lines) >= 6
    for name in ("loss", "clean_loss", "meta_loss", "weight_original", "initial_share", "rate"):
        assert all(np.isfinite(line[name]) for line in lines if "loss" in line), name
    assert lines[5]["images"] == 20  # 2 unlabelled slices and 2 clean ones, in 5 looks each
    assert lines[5]["images_per_second"] == pytest.approx(20 / lines[5]["seconds"])
    assert lines[0]["rate"] == pytest.approx(0.05) and lines[5]["rate"] < 0.01
    first, last = (open_run(folder) for folder in (ready.init_from, learned))
    assert not np.array_equal(
        first.state.meta.learned["theta"]["head"]["bias"], last.state.student["head"]["bias"]
    )
    patients = {name for seen in last.provenance for name in seen.patients}
    assert set(last.split.unlabelled) <= patients


def test_whole_volumes_of_the_tested_are_scored_without_support(learned):
    test.test(test.Options(run=(learned,)))
    (report,) = learned.rglob("report.md")
    assert "no support: labels in training alone" in report.read_text()
    kept = weights.read(learned / WATCHED / "6.npz")
    assert len(kept.slices) == len(kept.weight) == 16 and kept.step == 6
    truth = weights.truths(learned, [kept])
    assert truth.keys() == set(kept.slices)
    head, before, _, after = weights.quality(
        weights.kept_of(learned), truth
    )  # when nothing was learned, and at the end
    assert head[1:] == [weights.INITIAL, weights.ENHANCED, weights.STUDENT]
    assert (before[0], after[0]) == ("0", "6") and before[1] == after[1]
    assert f"| 6 | {' | '.join(after[1:])} |" in report.read_text()
    assert (report.parent / "weights.png").stat().st_size > 5000
    assert "Slices that nobody labelled" in (report.parent / "report.html").read_text()


def test_the_best_on_test_stands_beside_the_last_and_chooses_nothing(learned):
    """The last is the report's own number, and the run is tested where it ended."""
    asked = {
        line["step"]: line[NAME] for line in read_metrics(learned / "metrics.jsonl") if NAME in line
    }
    assert list(asked) == [3, 6]
    head, (_, last, best) = best_on_test.cells(learned)
    assert "chosen by the test itself" in head[2] and last == number(asked[6])
    assert best.startswith(number(max(asked.values())))
    assert open_run(learned).step == 6
    (scores,) = learned.rglob("scores.csv")
    dice = [score.dice for score in read_scores(scores, Score)]
    assert np.mean(dice) == pytest.approx(asked[6], abs=1e-6)
    assert "of 2: chosen by the test itself" in (scores.parent / "report.md").read_text()


def test_who_asks_for_the_test_is_asked_for(ready, asked, config):
    with pytest.raises(BadInput, match="without anybody who asks"):
        meta_train(dataclasses.replace(ready, test_each=True))
    few_shot = dataclasses.replace(config, test_each=True)
    with pytest.raises(BadInput, match="`test_each` with meta-sgd"):
        check(few_shot)


def test_what_is_there_is_not_made_again(ready, asked, learned, capsys):
    before = {path: path.stat().st_mtime_ns for path in (asked.workdir / FOLDER).iterdir()}
    again = begun(asked)
    assert again == ready and meta_train(again) == learned
    after = {path: path.stat().st_mtime_ns for path in (asked.workdir / FOLDER).iterdir()}
    assert before == after and capsys.readouterr().out.count("trained already") == 2


def test_stale_labels_are_refused(ready):
    path = ready.workdir / FOLDER / TABLE
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | dict(made_by="another network")))
    try:
        with pytest.raises(BadInput, match="made by another network"):
            begun(ready)
    finally:
        path.write_text(text)


@pytest.fixture
def elsewhere(ready, tmp_path):
    """The same run in a folder without labels, by whom they are to be given."""

    def by(who):
        own = dataclasses.replace(ready.method, initial_labels=str(who))
        return dataclasses.replace(ready, method=own, workdir=tmp_path)

    return by


def labels_of(config):
    given = gather(config)
    scans = [given.shards.volumes[n] for n in given.source.pool.unlabelled]
    names = [scan.name for scan in scans]
    labels = open_initial_labels(config.workdir / FOLDER, given.shards, "heart", names)
    return np.concatenate(
        [load_probability(labels, scan, range(len(scan.counts["heart"]))).ravel() for scan in scans]
    )


def test_labels_are_given_by_place_and_intensity_or_are_a_structure(elsewhere):
    for who, values in (("atlas", None), ("lung", [0, 1])):
        label(elsewhere(who))
        found = labels_of(elsewhere(who))
        assert found.std() > 0 and (values is None or sorted(np.unique(found)) == values)
        (elsewhere(who).workdir / FOLDER / TABLE).unlink()


def test_labels_are_given_by_a_few_shot_run(elsewhere, run, monkeypatch):
    """It is adapted to the labelled slices; what it has seen is seen by this run too."""
    monkeypatch.setattr(labelling, "refuse_begun", lambda *given: None)
    config = elsewhere(run)
    label(config)
    assert labels_of(elsewhere("atlas")).std() > 0
    monkeypatch.undo()
    with pytest.raises(BadInput, match=r"held out here|this run would be"):
        label(config)


@pytest.mark.parametrize(
    "who, message",
    [
        ("nowhere", "`method.initial_labels=nowhere`: neither a run's folder nor a structure"),
        ("spleen", "has no spleen to take for initial labels"),
        ("Heart", "that is heart itself, whose labels in the unlabelled are not given"),
    ],
)
def test_who_cannot_give_labels_is_told(elsewhere, who, message):
    with pytest.raises(BadInput, match=message):
        begun(elsewhere(who))


def test_nobody_unlabelled_is_told(asked, tmp_path):
    """Before anything is trained."""
    with pytest.raises(BadInput, match="nobody is unlabelled"):
        begun(dataclasses.replace(asked, labelled=("3",), workdir=tmp_path))
    assert not list(tmp_path.iterdir())


def test_a_beginning_that_knew_labels_of_the_unlabelled_is_refused(ready, tmp_path):
    """Here the patient who taught it counts as unlabelled, and another is labelled."""
    given = gather(ready)
    (taught,), (other, *_) = given.division.labelled, given.division.unlabelled
    swapped = dict(labelled=(other,), test_patients=given.division.test_patients)
    config = dataclasses.replace(ready, workdir=tmp_path, **swapped)
    with pytest.raises(BadInput, match=f"trained on labels of heart in {taught}, who is not"):
        begun(config)


def test_replicates_are_one_method_however_many_slices_there_are(ready):
    one, other = (
        dataclasses.replace(ready, method=dataclasses.replace(ready.method, **filled))
        for filled in (dict(epoch_steps=3), dict(epoch_steps=5, labelled_by="another"))
    )
    assert alike(one, other)


def test_labels_that_changed_since_are_another_run_s(ready, learned):
    path = ready.workdir / FOLDER / TABLE
    text = path.read_text()
    path.write_text(json.dumps(json.loads(text) | dict(made_by="another network")))
    try:
        with pytest.raises(Occupied, match="labelled_by"):
            meta_train(ready)
    finally:
        path.write_text(text)


def test_another_organ_than_the_learned_one_is_not_asked(learned):
    with pytest.raises(BadInput, match="`organs=lung`: .* has learned heart, and knows no other"):
        test.test(test.Options(run=(learned,), organs=("lung",)))
    with pytest.raises(BadInput, match="the protocol supervised settles it"):
        test.test(test.Options(run=(learned,), baselines="all"))


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(stage_1_steps=0), "`method.stage_1_steps=0`: must be at least 1"),
        (dict(stride=0), "`method.stride=0`"),
        (dict(momentum=1.0), "`method.momentum=1.0`"),
        (dict(labels="none", consistency=False, teacher=False), "nothing of the unlabelled"),
        (dict(labels="none", weights="uniform"), "`method.weights` with `method.labels=none`"),
        (dict(labels="initial", ensemble=False), "there are no pseudo labels"),
        (dict(noise=-1.0), "`method.noise=-1.0`: must be at least 0"),
        (dict(teacher=False, decay=0.5), "`method.decay` without `method.teacher`"),
        (dict(bootstraps=False, weights="uniform"), "the labelled alone are learned from"),
    ],
)
def test_what_it_cannot_be_made_of_is_refused(asked, change, message):
    with pytest.raises(BadInput, match=message):
        check(dataclasses.replace(asked, method=dataclasses.replace(asked.method, **change)))


def test_other_parts_that_do_not_fit_are_refused(asked):
    with pytest.raises(BadInput, match="running statistics.*: `method.stage_1=clean-steps`"):
        check(dataclasses.replace(asked, network=UnetPlusPlus((4, 8), groups=0)))
    with pytest.raises(BadInput, match="`outer.optimizer=adamw` with mlb-seg"):
        check(dataclasses.replace(asked, outer=Outer()))
    with pytest.raises(BadInput, match="`tasks.vmap` with mlb-seg"):
        check(dataclasses.replace(asked, tasks=dataclasses.replace(asked.tasks, vmap=1)))


def test_running_statistics_are_of_all_images_which_no_devices_share(asked):
    assert shares_images(asked)
    assert not shares_images(dataclasses.replace(asked, network=UnetPlusPlus((4, 8), groups=0)))


def test_the_released_rate_falls_as_published(asked):
    config = dataclasses.replace(
        asked, steps=120, outer=dataclasses.replace(asked.outer, rate=0.005)
    )
    rate = rate_of(config)
    for epoch in (0, 1, 20, 119):
        assert float(rate(epoch)) == pytest.approx(0.005 * 20 / (epoch + 20), rel=1e-6)


def test_dilated_masks_keep_every_part(shards):
    grid = shards.volumes[0].grid
    _, height, width = sliced_shape(grid)
    mask = np.zeros((1, height, width), np.uint8)
    mask[0, height // 2, width // 2] = 1
    small = max(4, min(height, width) // 2)
    wide, usual = (
        of(mask, small, grid).sum() for of in (dilated_masks, shards.preprocessing.masks)
    )
    assert wide >= max(1, usual)


@pytest.mark.slow
def test_the_released_variant_trains_with_running_statistics(asked, tmp_path):
    own = dataclasses.replace(
        asked.method,
        stage_1="clean-steps",
        stage_1_steps=4,
        released=Released(zero_borders=True, teacher_resets=True, dilated_masks=True),
    )
    config = dataclasses.replace(
        asked,
        workdir=tmp_path / "run",
        method=own,
        network=UnetPlusPlus((4, 8), groups=0),
        steps=4,
        checkpoint_every=2,
    )
    ready = begun(config)
    earlier = open_run(ready.init_from).state
    handed = beginning(ready, open_run(ready.init_from).split)
    jax.tree.map(np.testing.assert_array_equal, handed, Trained(earlier.student, earlier.state))
    folder = meta_train(ready)
    run = open_run(folder)
    assert run.config.method.epoch_steps > 0 and run.step == 4
    moved = [np.abs(leaf).max() for name, leaf in flat(run.state.state) if "mean" in name]
    assert moved and all(value > 0 for value in moved)
    test.test(test.Options(run=(folder,)))


def flat(tree, prefix=""):
    """List the leaves of nested names."""
    for name, each in tree.items():
        inside = isinstance(each, dict)
        yield from flat(each, f"{prefix}{name}/") if inside else [(prefix + name, each)]
