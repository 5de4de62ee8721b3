"""What a report says of where its numbers come from, by hand and on a run of its own."""

import dataclasses
import datetime
from pathlib import Path

import numpy as np
import pytest

from jaxmeta.evaluation.baselines import METHOD
from jaxmeta.evaluation.pictures import most_false
from jaxmeta.evaluation.scoring import Score
from jaxmeta.files import write_json
from jaxmeta.reports.background import by_patient, data_sets, today, training
from jaxmeta.reports.figures import Picture
from jaxmeta.reports.run import worst_to_best
from jaxmeta.runs.claim import claim
from jaxmeta.runs.config import to_json
from jaxmeta.runs.presets import PRESETS
from jaxmeta.runs.setup import gather
from jaxmeta.splits.split import Split
from tests.helpers.leaking import configured, scan, write

NOWHERE = float("nan")


def score(patient, organ, dice, draw=0, row=METHOD, cohort="1"):
    name = f"acdc/{patient}" if cohort == "1" else f"chaos/{patient}"
    return Score(row, organ, draw, "", "", name, name, dice, 0.0, "", cohort=cohort)


CASES = [
    score("a", "liver", 0.5),
    score("a", "liver", 0.7, draw=1),
    score("a", "spleen", 0.2),
    score("b", "liver", 0.3),
    score("b", "spleen", NOWHERE),
    score("b", "liver", 0.9, row="scratch"),
    score("a", "spleen", 0.9, cohort="2"),  # somebody else of the same name
]


def test_every_patient_has_a_line_with_their_mean_of_each_organ_the_lowest_first():
    assert by_patient(CASES) == [
        ["Dice by patient", "liver", "spleen", "mean"],
        ["acdc/b", ".300", "", ".300"],
        ["acdc/a", ".600", ".200", ".400"],
        ["chaos/a", "", ".900", ".900"],
    ]
    assert by_patient([score("a", "liver", 0.5)]) == [
        ["Dice by patient", "liver"],
        ["acdc/a", ".500"],
    ]


def test_data_sets_are_named_with_their_patients():
    assert data_sets(CASES) == "acdc (2 patients), chaos (1 patient)"


def test_a_report_has_a_date():
    assert datetime.date.fromisoformat(today())


@pytest.mark.parametrize(
    "marked, missed, found",
    [
        ([0, 3, 5, 2], [9, 0, 0, 0], (2, "5 voxels falsely marked")),
        ([0, 0, 0, 0], [1, 0, 0, 4], (3, "4 voxels missed")),
        ([0, 0, 0, 0], [0, 0, 0, 0], (0, "")),
    ],
)
def test_the_most_false_slice_has_most_voxels_marked_or_where_none_is_missed(marked, missed, found):
    target, mask = np.zeros((2, 4, 5, 5), bool)
    target[:, 2:4] = mask[:, 2:4] = True
    for number, (more, less) in enumerate(zip(marked, missed, strict=True)):
        mask[number].flat[:more] = True
        mask[number, 2:4].flat[:less] = False
    assert most_false(target, mask) == found


def test_an_organ_has_a_row_of_cases_and_one_below_of_their_other_slices():
    """The worst, median and best of five; two cases of which one has one picture; one of one
    alone."""
    plane = np.zeros((2, 2))

    def pictures(name, count=2):
        return tuple(Picture(f"{name}{n}", plane, plane, plane, (1, 1)) for n in range(count))

    found = [(score(f"p{n}", "liver", n / 10), pictures(f"l{n}")) for n in (3, 0, 4, 1, 2)]
    found += [(score("q0", "spleen", 0.1), pictures("s0", 1))]
    found += [
        (score("q1", "spleen", 0.2), pictures("s1")),
        (score("r", "vena", 0.3), pictures("v", 1)),
    ]
    rows = [shown and shown.title for shown in worst_to_best(found)]
    assert rows[:6] == ["l00", "l20", "l40", "l01", "l21", "l41"]
    assert rows[6:12] == ["s00", "s10", None, None, "s11", None]
    assert rows[12:] == ["v0", None, None]


def outcome_of(folder: Path, step: int, split: Split):
    from types import SimpleNamespace

    return SimpleNamespace(folder=folder, step=step, split=split)


def test_training_is_told_in_a_sentence(tmp_path):
    patients = ("acdc/a", "acdc/b", "chaos/c", "validation/d")
    split = Split(("heart", "liver"), ("kidney",), ("spleen",), patients, ("chaos/d",))
    told = {"steps": 8, "init_from": "random", "tasks": {"batch_size": 4, "kind": "episodes"}}
    told["structures"] = ["acdc/heart", "chaos/liver"]
    write_json(tmp_path / "config.json", {"config": told})
    assert training(outcome_of(tmp_path, 8, split)) == (
        f"{tmp_path} learned from heart, liver in 3 patients of acdc, chaos: 8 steps of 4 tasks. "
        "Step 8, the last, is tested: no validation organ chose another."
    )
    lines = [f'{{"step": {n}, "seconds": 25.0}}\n' for n in range(1, 9)]
    lines += ['{"step": 4, "validation_dice": 0.684}\n', '{"step": 8, "validation_dice": 0.5}\n']
    (tmp_path / "metrics.jsonl").write_text("".join(lines))
    assert training(outcome_of(tmp_path, 4, split)).endswith(
        "8 steps of 4 tasks in 3 minutes. Step 4 is tested: of 2 it had the highest Dice, .684, on "
        "the validation organ kidney."
    )
    write_json(tmp_path / "config.json", {"config": told | {"steps": 0}})
    assert "was not trained" in training(outcome_of(tmp_path, 0, split))
    assert "is not told" in training(outcome_of(tmp_path / "gone", 0, split))


@pytest.mark.parametrize("name", PRESETS)
def test_training_is_told_of_every_preset(name, tmp_path):
    split = Split(("heart",), (), ("spleen",), ("acdc/a",), ("acdc/b",))
    preset = PRESETS[name].config
    config = dataclasses.replace(preset, structures=("acdc/heart",), steps=preset.steps or 1)
    write_json(tmp_path / "config.json", {"config": to_json(config)})
    told = training(outcome_of(tmp_path, config.steps, split))
    whom = "in 1 patient" if name != "in-context" else "synthetic cohorts, of no scan"
    assert told.startswith(f"{tmp_path} learned from ") and whom in told
    assert f"{config.steps} steps of {config.tasks.batch_size} tasks" in told


@pytest.mark.parametrize(
    "how, person",
    [
        ({"same_patients": ["t1", "t2"]}, "t1/case{}"),
        ({"patient_pattern": r"case(?P<person>\d)"}, "{}"),
    ],
)
def test_people_of_several_data_sets_are_counted_where_they_were_learned_from(
    how, person, tmp_path
):
    """Spleens are in t1, livers in t2, of the same five people; three are trained on."""
    of = {name: {f"case{n}": scan(n + 9 * name) for n in range(5)} for name in (1, 2)}
    named = dict(t1=(of[1], ("spleen", "heart", "lung")), t2=(of[2], ("liver", "colon", "aorta")))
    data = write(tmp_path, how=how, **named)
    tested = (person.format(3), person.format(4))
    config = configured(
        data,
        tmp_path / "run",
        train_organs=("liver",),
        val_organs=(),
        test_patients=tested,
        steps=5,
    )
    given = gather(config)
    claim(given)
    assert training(outcome_of(config.workdir, 5, given.division)).startswith(
        f"{config.workdir} learned from liver in 3 patients of t2: 5 steps of 1 tasks"
    )
    (config.workdir / "provenance.json").unlink()  # as an earlier version left it
    told = training(outcome_of(config.workdir, 5, given.division))
    assert " learned from liver in 3 patients of t2: " in told
