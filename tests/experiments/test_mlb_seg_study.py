"""The study of MLB-Seg on real scans: cases of later runs join those that are kept, and tables are
made of them again."""

import subprocess
from pathlib import Path

import pytest

from experiments.studies import mlb_seg
from experiments.studies.kept_cases import read
from jaxmeta.evaluation.scoring import Score

ROOT = Path(__file__).resolve().parents[2]


def scored(row, dice, organ="left_atrium", patient="la/a", labelled=4, seed="0"):
    nothing = dict(support_patients="", support_slices="", iou=0.5, outcome="")
    about = dict(organ=organ, support_set=0, patient=patient, case=patient)
    return Score(row=row, dice=dice, shots=labelled, run=seed, **about, **nothing)


def test_later_runs_join_what_is_kept(tmp_path):
    path = tmp_path / "cases.csv"
    mlb_seg.keep(path, iter([scored("mlb", 0.5), scored("plain", 0.25)]))
    mlb_seg.keep(path, iter([scored("mlb", 0.75), scored("mlb", 0.5, seed="1")]))
    found = {(score.row, score.run): score.dice for score in read(path)}
    assert found == {("mlb", "0"): 0.75, ("mlb", "1"): 0.5, ("plain", "0"): 0.25}


def test_rows_are_paired_organ_by_organ_and_in_the_curve():
    rows = [
        scored(row, dice + 0.01 * at, patient=f"la/{name}", labelled=labelled)
        for row, dice in (("mlb", 0.8), ("augmented", 0.7), ("no-teacher", 0.6))
        for labelled in (4, 8)
        for at, name in enumerate("abc")
    ]
    labels = [
        scored(row, 0.5, patient=f"la/{n}")
        for row in ("initial labels", "the student's")
        for n in "de"
    ]
    told = mlb_seg.tables(rows, labels)
    heads = [line.split("|")[1].strip() for line in told.splitlines() if "| mean |" in line]
    assert heads == [
        "all organs",
        "left_atrium",
        "left_atrium, with less in it",
        "left_atrium, 4 labelled",
        "left_atrium, 8 labelled",
        "labels of the unlabelled",
    ]
    assert told.count("| augmented | .710") == 4 and told.count("| no-teacher | .610") == 1
    assert told.count("| augmented | .710 [.685, .735] | .710 | -.100 [") == 4


@pytest.mark.parametrize("words", [("left_atrium", "3"), ("heart", "0"), ("few-shot", "liver")])
def test_another_division_is_told_what_there_is(tmp_path, words):
    script = ROOT / "experiments/studies/mlb_seg.sh"
    done = subprocess.run(
        ["bash", script, "shards", tmp_path, *words], capture_output=True, text=True
    )
    assert done.returncode == 2 and "ORGAN few-shot" in done.stderr
