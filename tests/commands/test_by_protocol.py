"""A run that is trained and tested by a protocol of the literature."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from jaxmeta.commands import compare
from jaxmeta.commands.test import Options
from jaxmeta.commands.test import test as meta_test
from jaxmeta.commands.train import parse
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.errors import BadInput
from jaxmeta.reports.figures import number
from jaxmeta.runs import checks
from jaxmeta.runs.protocol import refuse_empty, trained_by
from jaxmeta.runs.run import network_of
from jaxmeta.runs.train import meta_train
from tests.helpers.cohorts import cohort, hospital, write_scans


@pytest.fixture(scope="module")
def ten(tmp_path_factory, config):
    """The configuration of the other tests, on ten patients, by the protocol."""
    root = tmp_path_factory.mktemp("ten")
    write_scans(root / "belly", ["liver", "kidney", "spleen"], 10, 3)
    prepare([root / "belly"], root / "shards", size=16, workers=1)
    return dataclasses.replace(
        config,
        data=(root / "shards",),
        workdir=root / "run",
        val_organs=(),
        protocol="alpnet",
        fold=1,
        setting=1,
        steps=2,
    )


@pytest.fixture(scope="module")
def tested(ten):
    assert meta_train(ten)
    (outcome,) = meta_test(Options(run=(ten.workdir,), baselines="default"))
    return ten.workdir, outcome


def test_the_fold_and_the_support_patient_are_held_out_and_the_fold_alone_is_scored(tested):
    folder, outcome = tested
    held_out = ["belly/case2", "belly/case3", "belly/case4"]
    assert list(outcome.split.test_patients) == held_out
    (table,) = outcome.tables
    assert {score.patient for score in table.scores} == set(held_out[:2])
    assert {score.support_patients for score in table.scores} == {"belly/case4"}
    assert {score.organ for score in table.scores} == {"spleen"}
    assert len(table.scores[0].support_slices.split()) == 3


def test_every_row_has_a_score_with_the_oracle_beside_the_one_without(tested):
    _, outcome = tested
    rows = list(dict.fromkeys(score.row for score in outcome.tables[0].scores))
    plain = [
        "adapted",
        "no adaptation",
        "nearest support mask",
        "place and intensity, no training",
        "scratch",
    ]
    assert rows == [name + known for name in plain for known in ("", ", z-range known")]


def test_the_report_names_the_protocol_its_digest_and_what_intervals_are_over(tested, capsys):
    folder, _ = tested
    summary = json.loads((folder / "report" / "summary.json").read_text())
    (table,), (run,) = summary["tables"], summary["runs"]
    (told,) = table["told"]
    assert run["protocol"] == "alpnet" and told["asked"].startswith("fold 1 of 5, setting 1 [")
    assert f"] alpnet: {told['asked']}; " in table["protocol"]
    for line in table[
        "lines"
    ]:  # of two patients: Student's t of one degree, as wide as a Dice allows
        dice = line["dice"]
        if dice["over"] == ["patients"]:
            assert dice["low"] <= dice["mean"] <= dice["high"]
        else:  # two that are alike are no certainty
            assert dice["over"] == [] and dice["low"] is None and dice["mean"] is not None


def test_folds_make_a_table_with_the_values_of_each_fold(tested, ten, tmp_path):
    folder, first = tested
    other = dataclasses.replace(ten, fold=2, workdir=tmp_path / "fold2")
    assert meta_train(other)
    (second,) = meta_test(Options(run=(other.workdir,), baselines="none"))
    text = compare.compare((folder, other.workdir), tmp_path / "folds")
    assert "setting 1, 2 folds, 2 runs" in text
    assert all(outcome.tables[0].told.asked in text for outcome in (first, second))
    (table,) = json.loads((tmp_path / "folds" / "summary.json").read_text())["tables"]
    head, one, two = table["folds"]
    assert head == ["adapted, by fold", "spleen", "mean"] and (one[0], two[0]) == ("1", "2")
    means = []
    for outcome, shown in ((first, one), (second, two)):
        dice = [c.dice for c in outcome.tables[0].scores if c.row == "adapted"]
        assert shown[1] == number(np.mean(dice))
        means.append(np.mean(dice))
    lines = {line[0]: line for line in table["lines"]}
    assert lines["adapted"][1] == number(np.mean(means)) and lines["adapted"][-2] == "4"
    assert not {"scratch", "nearest support mask", "place and intensity, no training"} & set(
        lines
    )  # of one fold alone
    assert "left out: scratch (not in every report)" in text
    shown = (tmp_path / "folds" / "report.html").read_text()
    assert all(f"<td>{cell}</td>" in shown for cell in (*one, *two, lines["adapted"][1]))
    assert shown.count("data:image/png") == 1 and second.tables[0].told.asked in shown
    assert f"| {' | '.join(one)} |" in (tmp_path / "folds" / "report.md").read_text()
    with pytest.raises(BadInput, match="spleen of fold 1 is tested in .* and in .*: name one"):
        shutil.copytree(folder, tmp_path / "again")
        compare.compare((folder, tmp_path / "again"))


def test_without_validation_organs_nothing_is_tuned(tested):
    for option in (dict(tune=True), dict(baselines="all")):
        with pytest.raises(BadInput, match="protocol alpnet has no validation organs to tune on"):
            meta_test(Options(run=(tested[0],), **option))


def test_setting_2_does_not_begin_from_what_saw_hidden_slices(tested, ten):
    folder, outcome = tested
    hiding = dataclasses.replace(ten, setting=2)
    with pytest.raises(BadInput, match="may have seen slices that setting 2 hides"):
        network_of(folder, outcome.split, hiding)
    assert network_of(folder, outcome.split, ten)
    strangers = outcome.split._replace(train_patients=("x/1",), test_patients=("x/2",))
    assert network_of(folder, strangers, hiding)  # who was seen there is nobody of these


@pytest.mark.parametrize(
    "option", [dict(shots=(1,)), dict(support_sets=2), dict(organs=("spleen",))]
)
def test_what_the_protocol_settles_cannot_be_asked_for(tested, option):
    folder, _ = tested
    with pytest.raises(BadInput, match="the protocol alpnet settles it"):
        meta_test(Options(run=(folder,), **option))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--fold 1", "`fold` and `setting` are of `protocol=alpnet`"),
        ("--setting 2", "`fold` and `setting` are of `protocol=alpnet`"),
        (
            "--protocol alpnet --fold 1 --setting 2 --val-organs a",
            "says who is held out, and has no validation",
        ),
    ],
)
def test_a_protocol_is_named_whole(words, message):
    with pytest.raises(BadInput, match=message):
        checks.check(parse(["unet-maml", *words.split()])[1])


def test_a_setting_that_leaves_nothing_to_train_on_is_refused(ten):
    """Every slice of the made-up kidney shows the spleen, too."""
    shards = cohort({"belly": hospital.spec["belly"]})
    asked = dataclasses.replace(ten, setting=2, train_organs=("kidney",))
    with pytest.raises(BadInput, match="setting 2 leaves no slice of kidney to train on"):
        refuse_empty(trained_by(asked, shards), shards)


def test_an_organ_that_is_trained_on_is_not_tested(ten, tmp_path):
    both = dataclasses.replace(ten, train_organs=("liver", "spleen"), workdir=tmp_path / "run")
    with pytest.raises(BadInput, match="organ spleen would be trained on and tested"):
        meta_train(both)
