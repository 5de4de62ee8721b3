"""The whole way from a run to its report, on a run too small to be good at anything."""

import csv
import dataclasses
import datetime
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import label

from jaxmeta.commands import compare
from jaxmeta.commands import test as command
from jaxmeta.commands.test import Options
from jaxmeta.commands.test import test as meta_test
from jaxmeta.commands.train import meta_train
from jaxmeta.data.names import amount
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from jaxmeta.evaluation import run_test, settings, tuning
from jaxmeta.evaluation.baselines import segmenters_of
from jaxmeta.evaluation.finetune import Finetune, Tuned
from jaxmeta.evaluation.following import followed
from jaxmeta.evaluation.outcome import Measuring
from jaxmeta.evaluation.pretraining import heads as heads_of
from jaxmeta.evaluation.protocol import Conditions
from jaxmeta.evaluation.scoring import NAN, Score
from jaxmeta.evaluation.segmenter import Segmenter
from jaxmeta.methods import BY_OPTIONS, method_of, testing
from jaxmeta.methods.testing import OWN, Grid
from jaxmeta.reports import figures
from jaxmeta.reports import run as report
from jaxmeta.reports.run import alive, digest_of_table, lines_of
from jaxmeta.runs.run import Run, open_run

DIAGONAL = (20**2 + 24**2 + 30**2) ** 0.5  # of 20 x 24 x 10 voxels of 1 x 1 x 3 mm
ROWS = {
    "adapted",
    "no adaptation",
    "nearest support mask",
    "place and intensity, no training",
    "scratch",
}


@pytest.fixture(scope="module")
def tested(run):
    """Test with the default baselines, but scratch fine-tuned for two steps."""
    quick = pytest.MonkeyPatch()
    quick.setattr(settings, "SHIPPED", {2: Finetune("adam", 1e-2, 2)})
    (outcome,) = meta_test(Options(run=(run,), shots=(2, 1), support_sets=2, steps=(0, 2)))
    quick.undo()
    return outcome


def read_scores(run):
    with (run / "report" / "scores.csv").open() as file:
        return list(csv.DictReader(file))


def test_every_row_scores_every_other_patient_under_every_support(tested, run):
    patients = set(open_run(run).split.test_patients)
    for shots in (2, 1):
        for row in ROWS:
            own = [c for c in read_scores(run) if c["row"] == row and c["shots"] == str(shots)]
            for support_set in "01":
                of_draw = [c for c in own if c["support_set"] == support_set]
                other = {c["support_patients"] for c in of_draw}
                assert len(other) == 1
                assert {c["patient"] for c in of_draw} == patients - other
                assert all(len(c["support_slices"].split()) == shots for c in of_draw)


def test_only_held_out_organs_and_patients_are_scored(tested, run):
    split = open_run(run).split
    assert {c["organ"] for c in read_scores(run)} == {"spleen"}
    assert not {c["patient"] for c in read_scores(run)} & set(split.train_patients)


def test_the_page_holds_every_row_every_picture_and_every_miss(tested, run):
    page, text = ((run / "report" / name).read_text() for name in ("report.html", "report.md"))
    for row in ROWS:
        tables = 6 if row == "adapted" else 4  # of two numbers of shots: two each, and its curve
        assert page.count(f"<td>{row}</td>") == text.count(f"| {row} |") == tables
    # two numbers of slices, boxes, steps and overlays each; Dice against slices; training
    assert page.count("data:image/png;base64,") == 8
    assert not re.search(r"https?://", page)
    missed = [c for c in read_scores(run) if c["row"] == "adapted" and c["outcome"] == "missed"]
    named = page.count("<li>spleen of ")
    assert named == len(missed) and (named or "The method missed none." in page)
    assert "HD95 in mm and NSD within 2 mm by the convention default" in text
    own = [c for c in read_scores(run) if c["row"] == "adapted"]
    told = f"{len(own)} of {len({c['patient'] for c in own})} patients, asked of every row"
    assert told in page
    patients = sorted({c["patient"] for c in own})
    for name in patients:
        assert page.count(f"<td>{name}</td>") == text.count(f"| {name} |") == 2  # numbers of shots
    sentence = (
        f"{run} learned from kidney, liver, lung in 7 patients of belly, chest: 4 steps of 2 tasks"
    )
    for told in (f"belly ({len(patients)} patients)", sentence, datetime.date.today().isoformat()):
        assert told in page and told in text


def test_the_digest_tells_questions_apart_and_not_who_answers(tested):
    (table, other) = tested.tables

    def shown(scores, outcome=tested, shots=2):
        return digest_of_table([outcome], scores, shots)

    usual = shown(table.scores)
    assert len(usual) == 8 and f"[{usual}]" in report.protocol([tested], table.scores, 2)
    assert usual == shown([c for c in table.scores if c.row == "scratch"])
    assert usual == shown([c._replace(run="elsewhere", dice=0.0) for c in table.scores])
    changes = [
        shown(other.scores, shots=1),
        shown([c._replace(support_slices="a:1") for c in table.scores]),
        shown([c for c in table.scores if c.support_set == 0]),
        shown(table.scores, tested._replace(leaks=("target-labels",))),
        shown(table.scores, tested._replace(measuring=Measuring("monai", 2.0))),
        shown(table.scores, tested._replace(conditions=Conditions(largest_component=True))),
    ]
    assert len({usual, *changes}) == 7


def dice(scores, row="adapted"):
    return [score.dice for score in scores if score.row == row]


def test_the_curve_over_steps_begins_with_none_and_meets_the_method(tested):
    for table in tested.tables:
        assert set(table.by_steps) == {"adapted"}, "no other row follows the method's own rule"
        curve = table.by_steps["adapted"]
        assert dice(curve[0]) == dice(table.scores, "no adaptation")
        assert dice(curve[2]) == dice(table.scores)  # whose preset has two


def test_a_curve_computes_what_no_row_of_the_table_knows(tested, run, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    asked = Options(
        run=(tmp_path / "run",), shots=(2,), support_sets=2, baselines="none", steps=(0, 5)
    )
    (outcome,) = meta_test(dataclasses.replace(asked, save_masks=False))
    curve, known = outcome.tables[0].by_steps["adapted"], tested.tables[0]
    assert dice(curve[0]) == pytest.approx(dice(known.scores, "no adaptation"))
    assert [score.case for score in curve[5]] == [score.case for score in curve[0]]
    assert dice(curve[5]) not in (dice(curve[0]), dice(known.scores))
    assert {(score.run, score.shots, score.row) for score in curve[5]} == {
        (str(tmp_path / "run"), 2, "adapted")
    }


def test_every_case_has_its_distances(tested, run):
    for score in read_scores(run):
        if score["outcome"] == "scored":
            assert 0 <= float(score["assd"]) < DIAGONAL and 0 <= float(score["hd95"]) < DIAGONAL
            assert 0 <= float(score["nsd"]) <= 1
        if score["outcome"] == "missed":
            assert float(score["hd95"]) == pytest.approx(DIAGONAL)


def test_the_summary_repeats_the_table_and_its_protocol(tested, run):
    values = json.loads((run / "report" / "summary.json").read_text())
    for table, shots in zip(values["tables"], (2, 1), strict=True):
        assert f"{shots} slice" in table["protocol"]
        assert {line["row"] for line in table["lines"]} == ROWS
        for line in table["lines"]:
            own = [
                float(c["dice"])
                for c in read_scores(run)
                if (c["row"], c["shots"]) == (line["row"], str(shots))
            ]
            assert line["dice"]["mean"] == pytest.approx(np.mean(own))
            assert line["counts"]["cases"] == len(own)
            assert (line["behind"] is None) == (line["row"] == "adapted")
        assert table["adaptation_seconds"][0] > 0


def test_a_saved_mask_is_the_one_that_was_scored_and_lies_on_its_image(tested, run, scanned):
    shards = open_shards([scanned / "shards"])
    score = next(c for c in read_scores(run) if c["row"] == "adapted" and c["shots"] == "2")
    dataset, name = score["case"].split("/")
    mask = nib.load(run / "predictions" / f"{dataset}_{name}_spleen_2shot.nii.gz")
    image = nib.load(scanned / dataset / "imagesTr" / f"{name}.nii.gz")
    label = nib.load(scanned / dataset / "labelsTr" / f"{name}.nii.gz")
    assert mask.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(mask.affine, image.affine)
    for code in ("qform_code", "sform_code", "xyzt_units"):
        assert mask.header[code] == image.header[code]
    truth = np.asarray(label.dataobj) == 3
    predicted = np.asarray(mask.dataobj) > 0
    dice = 2 * (truth & predicted).sum() / (truth.sum() + predicted.sum())
    assert dice == pytest.approx(float(score["dice"]))
    assert len({volume.patient for volume in shards.volumes}) == 10


def test_pictures_are_written(tested, run):
    for name in ("overlay_2shot.png", "overlay_1shot.png", "curves.png"):
        assert (run / "report" / name).stat().st_size > 5000


def test_a_report_read_back_is_what_was_found(tested, run):
    found = report.read_report(run)
    bare = [table._replace(pictures=[]) for table in tested.tables]
    assert repr(found) == repr(tested._replace(tables=tuple(bare)))


@pytest.fixture
def reported(tested, run, tmp_path):
    """Make two runs of one: the same report in two folders, the cases of one a little better."""
    for name in ("one", "two"):
        shutil.copytree(run / "report", tmp_path / name / "report")
    scores = figures.read_scores(tmp_path / "two" / "report" / "scores.csv", Score)
    better = [c._replace(dice=c.dice + 0.1) if c.row == "adapted" else c for c in scores]
    figures.write_scores(tmp_path / "two" / "report" / "scores.csv", better)
    return tmp_path / "one", tmp_path / "two"


def test_runs_tested_one_by_one_are_compared_from_their_reports(reported, tmp_path):
    text = compare.compare(reported, tmp_path / "both")
    values = json.loads((tmp_path / "both" / "summary.json").read_text())
    assert [run["folder"] for run in values["runs"]] == list(map(str, reported))
    for folder, table in enumerate(values["tables"]):
        alone = json.loads((reported[0] / "report" / "summary.json").read_text())["tables"][folder]
        for line, own in zip(table["lines"], alone["lines"], strict=True):
            more = 0.05 if line["row"] == "adapted" else 0  # the mean of none and .1 more
            assert line["dice"]["mean"] == pytest.approx(own["dice"]["mean"] + more)
            assert line["counts"]["cases"] == 2 * own["counts"]["cases"]
            assert (line["behind"] is None) == (line["row"] == "adapted")
            assert not line["behind"] or line["behind"]["runs"]
    assert "supports and runs; t]" in text
    assert not list((tmp_path / "both").glob("overlay*"))


def test_runs_that_were_not_tested_alike_are_not_compared(reported, tmp_path):
    path = reported[1] / "report" / "summary.json"
    values = json.loads(path.read_text())
    values["runs"][0]["support_sets"] += 1
    path.write_text(json.dumps(values))
    with pytest.raises(
        BadInput, match="one was tested with support_sets 2, .*two with 3: test them alike"
    ):
        compare.compare(reported)
    values["runs"][0]["support_sets"] -= 1
    path.write_text(json.dumps(values))
    scores = figures.read_scores(path.with_name("scores.csv"), Score)
    more = [c._replace(organ="pancreas") for c in scores]
    figures.write_scores(path.with_name("scores.csv"), more)
    with pytest.raises(BadInput, match="one is tested on .*two on pancreas: test runs that leave"):
        compare.compare(reported)
    values["runs"][0]["split"]["test_organs"] = ["pancreas"]
    path.write_text(json.dumps(values))
    text = compare.compare(reported, tmp_path)
    assert "each asked of runs that never trained on it: pancreas, " in text
    figures.write_scores(path.with_name("scores.csv"), scores + more)
    with pytest.raises(BadInput, match="two leave out other organs and are both tested on "):
        compare.compare(reported)
    path.write_text("{}")
    with pytest.raises(BadInput, match="not the report of this version"):
        compare.compare(reported)
    path.unlink()
    with pytest.raises(BadInput, match="two has no report"):
        compare.compare(reported)


def test_two_lines_of_one_setting_are_computed_once():
    same, other = Finetune("adam", 0.01, 300), Finetune("sgd", 0.1, 300)
    settings = {
        "adapted": same,
        "scratch": same,
        "scratch, same steps": same,
        "transfer": other,
        "transfer, same steps": same,
    }
    settings = {name: Tuned(each, "found") for name, each in settings.items()}
    row = Segmenter("", None, None)
    rows, lines = segmenters_of(lambda name, *_: row._replace(name=name), settings, "all")
    computed = [
        "adapted",
        "no adaptation",
        "nearest support mask",
        "place and intensity, no training",
        "scratch",
        "transfer",
        "transfer, same steps",
    ]
    assert [row.name for row in rows] == computed
    assert lines["scratch"] == ["scratch", "scratch, same steps"]
    assert sum(lines.values(), []) == [*computed[:5], "scratch, same steps", *computed[5:]]
    assert [row.name for row in segmenters_of(lambda name, *_: row, settings, "none")[0]] == [""]


def test_the_same_test_again_gives_the_same_numbers(tested, run):
    before = read_scores(run)
    meta_test(Options(run=(run,), shots=(2, 1), support_sets=2, baselines="none", save_masks=False))
    again = read_scores(run)
    assert again == [c for c in before if c["row"] == "adapted"]


def test_the_largest_component_is_what_is_scored_and_saved(run):
    meta_test(
        Options(run=(run,), shots=(2,), support_sets=1, baselines="none", largest_component=True)
    )
    for case in {score["case"].replace("/", "_") for score in read_scores(run)}:
        mask = nib.load(run / "predictions" / f"{case}_spleen_2shot.nii.gz")
        assert label(np.asarray(mask.dataobj), np.ones((3, 3, 3)))[1] == 1
    (table,) = json.loads((run / "report" / "summary.json").read_text())["tables"]
    assert "the largest connected component of each mask" in table["protocol"]


def test_a_mask_is_predicted_as_the_nearest_search_found(run, tmp_path):
    opened = open_run(run)._replace(folder=tmp_path)
    plain, whole = Conditions(), Conditions(largest_component=True)
    assert settings.method_setting(opened, 5, plain).source == "the preset's"
    for steps, name in [(1, "1"), (2, "8"), (3, "8, largest piece"), (4, "5, within 3")]:
        found = {"adapted": Tuned(Finetune("adam", 0.01, steps))}
        settings.save(tmp_path, name, found, {}, None)
    steps = {
        (shots, protocol): settings.method_setting(opened, shots, protocol).finetune.steps
        for shots in (2, 7)
        for protocol in (plain, whole)
    }
    assert steps == {(2, plain): 1, (2, whole): 3, (7, plain): 2, (7, whole): 3}


def test_settings_of_a_run_that_was_not_searched_are_refused(run):
    with pytest.raises(BadInput, match="no search at 2 there"):
        meta_test(Options(run=(run,), shots=(2,), tuned_on=run))


@pytest.mark.parametrize(
    ("name", "value"),
    [("shots", (0,)), ("shots", (5, -1)), ("support_sets", -1)],
)
def test_numbers_below_one_are_refused(run, name, value):
    with pytest.raises(BadInput, match=f"`{name}=.*`: must be at least [01]"):
        meta_test(Options(run=(run,), **{name: value}))


def test_slices_of_another_axis_are_refused(run, scanned, tmp_path):
    prepare([scanned / "belly", scanned / "chest"], tmp_path, size=16, axis="coronal", workers=1)
    with pytest.raises(
        BadInput,
        match="learned from axial slices, and those of .* are coronal: "
        "prepare the data with `axis=axial`",
    ):
        meta_test(Options(run=(run,), data=(tmp_path,), shots=(1,)))


def test_what_an_earlier_search_chose_for_another_pre_training_is_left_out(run, tmp_path):
    one = open_run(run)._replace(folder=tmp_path / "transfer")
    found = {kind: Tuned(Finetune("adam", 0.01, 20)) for kind in ("scratch", "transfer")}
    settings.save(tmp_path, "5", found, {}, settings.which(one))
    assert set(settings.read_tuned(tmp_path, "5", one)) == {"scratch", "transfer"}
    other = one._replace(folder=tmp_path / "transfer_upright")
    assert set(settings.read_tuned(tmp_path, "5", other)) == {"scratch"}


@pytest.mark.slow
def test_a_pre_training_is_chosen_within_volumes_for_tests_within_them(run, tmp_path, monkeypatch):
    monkeypatch.setattr(tuning, "PROBE", Finetune("adam", 1e-2, 1))
    opened = open_run(run)._replace(folder=tmp_path)
    both = [opened._replace(folder=tmp_path / name) for name in ("transfer", "transfer_upright")]
    assert tuning.better(opened, both, 1, Conditions(neighbors=3)) is both[0], "they are level"


def test_a_search_beside_the_settings_of_another_is_refused(run):
    with pytest.raises(BadInput, match="`tuned_on=.*` with a search of its own"):
        meta_test(Options(run=(run,), tuned_on=run, tune=True))


def test_the_pre_training_that_a_search_tuned_is_chosen_at_once(run, tmp_path, monkeypatch):
    opened = open_run(run)._replace(folder=tmp_path)
    both = [opened._replace(folder=tmp_path / name) for name in ("transfer", "transfer_upright")]
    monkeypatch.setattr(tuning, "validation_trials", lambda *asked: [])
    monkeypatch.setattr(tuning, "mean_dice", lambda row, asked, scored: next(scores))
    scores = iter([0.6, 0.5])
    assert tuning.better(opened, both, 5, Conditions()) is both[0]
    settings.save(tmp_path, "5", {}, {}, settings.which(both[1]))
    assert tuning.better(opened, both, 5, Conditions()) is both[1]
    scores = iter([0.6, 0.5])
    assert tuning.better(opened, both, 5, Conditions(), anew=True) is both[0]


@pytest.mark.parametrize("found", [(NAN, 0.1), (0.1, NAN), (NAN, NAN), (0.1, 0.2), (0.2, 0.1)])
def test_a_score_that_is_no_number_is_below_all_whichever_comes_first(monkeypatch, found):
    """Of a pre-training, and of the method's own rule against the grid's winner."""
    opened, *both = (Run(Path(name), None, None, None, 1) for name in ("run", "one", "other"))
    for name in ("validation_trials", "searched_by", "segmenter_maker"):
        monkeypatch.setattr(tuning, name, lambda *asked: lambda *row: None)
    scores = iter(found)
    monkeypatch.setattr(tuning, "mean_dice", lambda row, asked, scored: next(scores))
    second = found[1] in (0.2, 0.1) and found[0] != 0.2
    chosen = tuning.better(opened, both, 5, Conditions(), anew=True)
    assert chosen is both[second]
    if not np.isnan(found).all():
        grid = Finetune("adam", 0.01, 20)
        held = Tuned(grid, scores={grid: found[0]})
        won = tuning.with_own_rule(held, lambda setting: found[1], (5,))
        assert (won.finetune != grid) == second


@pytest.mark.parametrize(
    "shots, queries, rows, told",
    [
        (1, 1, 1, "1 shot: 1 volume, 1 row; "),
        (1, 2, 1, "1 shot: 2 volumes, 1 row; "),
        (5, 1, 3, "5 shots: 1 volume, 3 rows; "),
    ],
)
def test_what_is_scored_is_told_in_words_that_fit_the_number(capfd, shots, queries, rows, told):
    trial = SimpleNamespace(queries=[None] * queries, organ="heart")
    row = Segmenter("a", None, None)
    ask = followed([row] * rows, [trial], 0, amount(shots, "shot"), Measuring(), lambda *a, **k: [])
    assert list(ask) == []
    assert told in capfd.readouterr().out


@pytest.mark.parametrize("organ", ["liver", "heart"])
def test_an_organ_that_was_not_held_out_is_refused(run, organ):
    with pytest.raises(BadInput, match=f"{organ} is not a test organ"):
        meta_test(Options(run=(run,), organs=(organ,)))


def test_an_unknown_organ_is_refused_and_the_known_are_listed(run):
    with pytest.raises(BadInput, match="unknown organ 'pancreas'.*spleen"):
        meta_test(Options(run=(run,), organs=("pancreas",)))


def test_a_folder_that_is_no_run_is_refused(tmp_path):
    with pytest.raises(BadInput, match="no config.json"):
        meta_test(Options(run=(tmp_path,)))


def test_a_run_is_not_compared_with_itself(run):
    with pytest.raises(BadInput, match="named twice"):
        meta_test(Options(run=(run, run)))


def test_each_run_needs_a_transfer_run_of_its_own(run):
    with pytest.raises(BadInput, match="2 transfer runs for 1 runs"):
        meta_test(Options(run=(run,), transfer=(run, run)))


def test_a_transfer_run_of_which_there_is_no_row_is_refused(run):
    with pytest.raises(BadInput, match="`transfer` with `baselines=default`: no row is theirs"):
        meta_test(Options(run=(run,), transfer=(run,)))


def test_more_shots_than_slices_are_refused(run):
    with pytest.raises(BadInput, match="99 shots"):
        meta_test(Options(run=(run,), shots=(99,), support_sets=1))


@pytest.mark.slow
def test_all_baselines_of_two_runs_make_one_paired_comparison(run, config, monkeypatch, tmp_path):
    other = dataclasses.replace(config, workdir=config.workdir.parent / "other", seed=1)
    assert meta_train(other)
    grids = {"sgd": Grid((0.1,), (1, 2)), "adam": Grid((1e-3, 1e-2), (1, 2))}
    monkeypatch.setattr(testing, "GRIDS", grids)
    monkeypatch.setattr(testing, "OWN_STEPS", (1, 2))
    runs = (run, other.workdir)
    meta_test(
        Options(
            run=runs,
            shots=(2,),
            support_sets=2,
            baselines="all",
            upper_bound=True,
            save_masks=False,
            output=tmp_path / "both",
        )
    )
    (table,) = json.loads((tmp_path / "both" / "summary.json").read_text())["tables"]
    lines = {line["row"]: line for line in table["lines"]}
    both = {"scratch, same steps", "transfer", "transfer, same steps", "fully supervised"}
    both.add("adapted, all slices")
    assert lines.keys() == ROWS | both
    # None where so small a network gains nothing in either
    behind = lines["scratch"]["behind"]
    assert behind["runs"] is None or behind["runs"]["records"] == behind["supports"]["records"]
    assert lines["fully supervised"]["behind"] is None
    for folder in runs:
        kept = json.loads((folder / "tuning.json").read_text())["2"]["found"]
        tried = {kind: {tuple(s[:3]) for s in kept[kind]["scores"]} for kind in kept}
        assert tried["scratch"] == tried["transfer"] <= tried["adapted"]
        steps = kept["adapted"]["winner"]["steps"]
        heads = heads_of(open_run(folder / "transfer"))
        assert set(heads) == {"belly/kidney", "belly/liver", "chest/lung"}
        assert kept["scratch, same steps"]["winner"]["steps"] == steps


def test_the_method_s_own_rule_wins_only_where_it_is_better():
    found = Tuned(Finetune("adam", 0.01, 20), scores={Finetune("adam", 0.01, 20): 0.5})
    worse = tuning.with_own_rule(found, lambda setting: 0.4, (5, 10))
    assert worse.finetune == found.finetune
    assert len(worse.scores) > 2
    better = tuning.with_own_rule(found, lambda setting: 1 - abs(setting.steps - 30) / 100, (5, 10))
    assert better.finetune == Finetune(OWN, 1.0, 30)  # beyond the steps that it began with
    assert better.edges == ()
    endless = tuning.with_own_rule(found, lambda setting: setting.steps, (5, 10))
    assert endless.edges == ("most steps",)


def test_searches_that_keep_other_masks_do_not_share_their_progress(tmp_path):
    protocols = Conditions(), Conditions(largest_component=True)
    plain, whole = (
        tuning.progress(tmp_path, settings.searched_as(5, protocol)) for protocol in protocols
    )
    assert (plain.name, whole.name) == ("tuning-5.jsonl", "tuning-5-largest-piece.jsonl")
    within = settings.searched_as(1, Conditions(neighbors=3))
    assert tuning.progress(tmp_path, within).name == "tuning-1-within-3.jsonl"


def test_a_setting_tells_its_rule_rate_and_steps():
    told = {
        Finetune("adam", 0.01, 20): "adam, rate 0.01, 20 steps (chosen)",
        Finetune(OWN, 1.0, 40): "its own rule, 40 steps (chosen)",
        Finetune(OWN, 0.3, 40): "its own rule, 0.3 times its rate, 40 steps (chosen)",
    }
    for setting, text in told.items():
        assert settings.describe_tuning(Tuned(setting, "chosen")) == text


def test_an_interrupted_search_goes_on_where_it_was(tmp_path):
    path, told = tmp_path / "tuning-5.jsonl", {"step": 3}
    assert tuning.resumed(path, told) == {}
    with path.open("a") as file:
        file.write('["scratch", "adam", 0.01, 20, 0.5]\n["scratch", "adam", 0.03, 2')
    seen = {("scratch", Finetune("adam", 0.01, 20)): 0.5}
    assert tuning.resumed(path, told) == seen
    assert len(path.read_text().splitlines()) == 2
    assert tuning.resumed(path, {"step": 4}) == {}


def test_a_search_computes_no_score_that_was_seen():
    asked, told = [], []

    def make(name, kind, setting):
        asked.append((kind, setting))
        raise KeyboardInterrupt

    setting = Finetune("sgd", 0.1, 1)
    grids, seen = (
        {"sgd": Grid((0.1,), (1,))},
        {("scratch", setting): 0.5, ("adapted", setting): 0.5},
    )
    with pytest.raises(KeyboardInterrupt):
        kinds = ["adapted", "scratch"]
        tuning.tune(make, (), kinds, grids=grids, own_steps=(7,), seen=seen, tell=told.append)
    assert not any(score in seen for score in asked) and not told


def test_a_dead_pre_training_head_is_named():
    assert alive({"a/liver": 0.5, "a/lung": 0.6}).endswith("Dice .500 to .600")
    assert alive({"a/liver": 0.02, "a/lung": 0.6}).endswith("too weak: a/liver")


def test_settings_of_several_runs_are_all_told():
    scores = [
        Score("scratch", "o", 0, "a", "a:1", "p", "p", 0.5, 0.3, "scored", 5, run) for run in "xy"
    ]
    scores += [score._replace(row="adapted") for score in scores]
    settings = [
        {"scratch": Tuned(Finetune("adam", rate, 100), "found", edges)}
        for rate, edges in ((1e-2, ()), (3e-2, ("highest rate",)))
    ]
    (line,) = [line for line in lines_of(scores, settings) if line.row == "scratch"]
    assert line.note == (
        "adam, rate 0.01, 100 steps (found) | "
        "adam, rate 0.03, 100 steps (found; AT THE GRID'S EDGE: highest rate)"
    )


def test_a_mistake_ends_in_one_line_and_exit_code_2(tmp_path):
    command = [sys.executable, "-m", "experiments.meta_test", "--run", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert ended.stderr.splitlines()[-1].startswith(f"error: {tmp_path}")


def test_another_convention_is_named_with_every_score(run):
    options = Options(run=(run,), shots=(1,), support_sets=1, baselines="none", save_masks=False)
    meta_test(dataclasses.replace(options, convention="medpy", tolerance=3.0))
    (table,) = json.loads((run / "report" / "summary.json").read_text())["tables"]
    assert "by the convention medpy" in table["protocol"] and "3 mm" in table["protocol"]
    assert all(score["nsd"] == "" for score in read_scores(run))  # which MedPy does not have
    with pytest.raises(BadInput, match="`tolerance=-1`: must be at least 0 mm"):
        meta_test(dataclasses.replace(options, tolerance=-1.0))


def test_the_search_of_the_method_s_own_rule_ends_where_the_others_do():
    found = Tuned(Finetune("adam", 0.01, 20), scores={Finetune("adam", 0.01, 20): 0.0})
    asked = []

    def ever_better(setting):
        asked.append(setting.steps)
        return float(setting.steps)

    own = tuning.with_own_rule(found, ever_better, (5, 20), most=60)
    assert max(asked) == own.finetune.steps == 60 and own.edges == ("most steps",)


def test_a_search_alone_looks_at_nothing_under_test(run, tmp_path, monkeypatch, capsys):
    """So that what a protocol's runs are tested with can be chosen before anything is scored."""
    searched, where = [], shutil.copytree(run, tmp_path / "searched")
    shutil.rmtree(where / "report", ignore_errors=True)

    def search(run, shots, transfer, conditions):
        searched.append((run.folder, shots, conditions.largest_component))
        return {"adapted": Tuned(Finetune("adam", 0.01, 7), "found")}

    monkeypatch.setattr(command, "search_settings", search)
    options = Options(run=(where,), shots=(2, 1), only_tune=True, largest_component=True)
    assert meta_test(options) == []
    assert searched == [(where, 2, True), (where, 1, True)]
    assert "1 slice, adapted: adam, rate 0.01, 7 steps (found)" in capsys.readouterr().out
    assert not (where / "report").exists()


def test_a_method_without_support_is_tested_on_whole_volumes_of_held_out_patients(
    run, tmp_path, monkeypatch
):
    """Its row stands alone: whatever else there is learns from a support."""
    where = shutil.copytree(run, tmp_path / "run")
    ones = Segmenter("adapted", lambda s, k: s, lambda f, i, place: np.ones((1, len(i), 16, 16)))
    own = open_run(where).config.method
    learned = method_of(own)._replace(needs_support=False)
    monkeypatch.setitem(BY_OPTIONS, type(own), learned)
    monkeypatch.setattr(run_test, "segmenter_maker", lambda *of: lambda *row: ones)
    (outcome,) = meta_test(Options(run=(where,)))
    assert outcome.protocol == "supervised"
    (table,) = outcome.tables
    assert {score.row for score in table.scores} == {"adapted"}
    assert {score.patient for score in table.scores} == set(outcome.split.test_patients)
    title = json.loads((where / "supervised" / "summary.json").read_text())["tables"][0]["protocol"]
    assert "supervised: no support: labels in training alone; organs never trained on" in title
    assert list((where / "supervised" / "predictions").glob("*.nii.gz"))
    with pytest.raises(
        BadInput, match="protocol few-shot has nothing to ask of .*, supervised has"
    ):
        meta_test(Options(run=(where,), protocol="few-shot"))
    with pytest.raises(BadInput, match="`baselines`: the protocol supervised settles it"):
        meta_test(Options(run=(where,), protocol="supervised", baselines="all", tuned_on=where))
