"""What is written is what was given: numbers, cases, and contours where the masks are."""

import csv

import matplotlib.image
import numpy as np
import pytest

from jaxmeta.evaluation.comparison import OTHER_MEASURES, Margin, TableRow
from jaxmeta.evaluation.intervals import Interval, Means
from jaxmeta.evaluation.outcome import Step
from jaxmeta.evaluation.scoring import Score
from jaxmeta.metrics import Counts, Measures
from jaxmeta.reports.columns import cells, mean_column, share, table
from jaxmeta.reports.figures import (
    Picture,
    beside,
    boxes,
    chance_text,
    curves,
    grid,
    number,
    overlay,
    read_scores,
    write_scores,
)

NONE = float("nan")
UNMEASURED = dict.fromkeys(OTHER_MEASURES, Means(NONE, NONE))


def line(row, value, behind=None):
    others = UNMEASURED | {"hd95": Means(34.5, 9.5), "nsd": Means(0.75, 0.8)}
    dice, iou = Interval(value, value - 0.1, value + 0.1, 8), Interval(value / 2, 0, 1, 8)
    margin = behind and Margin(behind, None)
    return TableRow(row, dice, iou, Counts(8, 8, 1, 0, 0), behind=margin, others=others)


def test_the_table_shows_each_row_with_its_cases_misses_and_distance():
    text = table(
        "5 slices of 1 patient",
        [line("adapted", 0.64), line("scratch", 0.5, Interval(0.14, -0.01, 0.3, 8))],
        "difference (adapted - row)",
    ).splitlines()
    assert text[0] == "5 slices of 1 patient"
    assert text[3].split() == [
        "adapted",
        ".640",
        "[.540,",
        ".740]",
        ".320",
        "34.5",
        "(9.5)",
        ".750",
        "8",
        "1",
        "0",
    ]
    assert text[4].split()[-3:] == ["+.140", "[-.010,", "+.300]"]


def test_heads_say_what_intervals_are_over_and_cells_where_theirs_is_over_less():
    def of(*over):
        return Interval(0.1, 0.0, 0.2, 8, 0.1, over)

    lines = [
        TableRow(row, of("patients"), of("patients"), Counts(8, 8, 1, 0, 0), behind=behind)
        for row, behind in (
            ("adapted", None),
            ("scratch", Margin(of("patients", "supports"), of("patients", "supports", "runs"))),
            ("copied", Margin(of("patients"), None)),
        )
    ]
    head, _, scratch, copied = cells(lines, "difference (x - row)")
    assert head[1] == "Dice [95 % CI over patients; t]"
    assert head[-2] == "difference (x - row) [95 % CI over patients and supports; t]"
    assert head[-1] == "[95 % CI over patients, supports and runs; t]"
    assert scratch[-2:] == ["+.100 [+.000, +.200]"] * 2
    assert copied[-2:] == ["+.100 [+.000, +.200] over patients", ""]
    head, *_ = cells([lines[0], lines[2]], "difference (x - row)")
    assert head[-1] == "difference (x - row) [95 % CI over patients, not over supports; t]"
    none = lines[0]._replace(dice=Interval(0.1, NONE, NONE, 1))
    assert cells([none], "")[0][1] == "Dice [no interval: patients too few]"


def test_a_chance_is_written_with_three_digits():
    assert [chance_text(p) for p in (NONE, 1.0, 0.0421, 0.0)] == ["", "1.000", ".042", "< .001"]


def test_distances_that_nobody_measured_have_no_columns():
    alone = line("adapted", 0.64)._replace(others=UNMEASURED)
    head, *_ = cells([alone], "")
    assert "HD95" not in head and "NSD" not in head
    overlap_alone = UNMEASURED | dict(hd95=Means(34.5, 9.5))  # as MedPy measures
    head, row = cells([alone._replace(others=overlap_alone)], "")
    assert row[head.index("HD95")] == "34.5 (9.5)"
    head, *rows = cells([alone, line("scratch", 0.5)], "")
    assert rows[0][head.index("HD95")] == "none" and rows[1][head.index("NSD")] == ".750"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, ".500"), (1.0, "1.000"), (0.0, ".000"), (NONE, "none"), (0.9999, "1.000")],
)
def test_numbers_are_written_as_tables_of_the_field_do(value, text):
    assert number(value) == text


def test_cases_have_one_line_each_and_an_empty_cell_for_no_number(tmp_path):
    scores = [
        Score("x", "heart", 0, "a/1", "a/1:3", "a/2", "a/2", 0.5, 1 / 3, "scored", 1, "r", ""),
        Score("x", "heart", 0, "a/1", "a/1:3", "a/3", "a/3", NONE, NONE, "empty", 1, "r", ""),
    ]
    write_scores(tmp_path / "scores.csv", scores)
    with (tmp_path / "scores.csv").open() as file:
        read = list(csv.DictReader(file))
    assert [row["dice"] for row in read] == ["0.5", ""]
    assert float(read[0]["iou"]) == scores[0].iou
    assert read[1]["outcome"] == "empty"


@pytest.mark.parametrize("kind, steps", [(Score, ()), (Step, (3,))])
def test_a_report_written_before_a_measure_was_added_is_read_without_it(tmp_path, kind, steps):
    of = "x", "heart", 0, "a/1", "a/1:3", "a/2", "a/2"
    case = kind(*steps, *of, 0.5, 0.25, "scored", nsd=0.75)
    write_scores(tmp_path / "now.csv", [case])
    with (tmp_path / "now.csv").open() as file:
        (written,) = csv.DictReader(file)
    del written["nsd"]
    earlier = [",".join(written), ",".join(written.values())]
    (tmp_path / "earlier.csv").write_text("\n".join(earlier) + "\n")
    (now,) = read_scores(tmp_path / "now.csv", kind)
    (before,) = read_scores(tmp_path / "earlier.csv", kind)
    assert now.nsd == 0.75 and np.isnan(before.nsd)
    assert before[: before._fields.index("run")] == now[: now._fields.index("run")]


def test_a_score_has_every_measure_and_a_table_row_whatever_is_measured_beside_dice_and_iou():
    assert set(Measures._fields) <= set(Score._fields)
    row = TableRow("x", *[Interval(0.5, 0.4, 0.6, 8)] * 2, Counts(8, 8, 1, 0, 0))
    beside = row._replace(others={"recall": Means(0.25, 0.5), "hd95": Means(NONE, NONE)})
    column = mean_column("sensitivity", "recall", share)
    assert column.head([beside]) == "sensitivity" and column.cell(beside, [beside]) == ".250"
    assert column.shown([beside, row]) and not column.shown([row])
    assert not mean_column("HD95", "hd95", share).shown([beside])


def test_the_overlay_draws_truth_on_one_side_and_prediction_on_the_other(tmp_path):
    low, high = np.zeros((2, 20, 20), bool)
    low[2:8, 8:12] = True  # small first index: the patient's left, drawn on the right
    high[12:18, 8:12] = True
    image = np.random.default_rng(0).normal(size=(20, 20)).astype(np.float32)
    overlay(tmp_path / "o.png", [Picture("case", image, low, high, (1.0, 1.0))], columns=1)
    red, green, blue = np.moveaxis(matplotlib.image.imread(tmp_path / "o.png")[..., :3], -1, 0)
    truth = np.argwhere((green > 0.5) & (red < 0.4) & (blue < 0.4))
    predicted = np.argwhere((red > 0.7) & (green < 0.4) & (blue < 0.4))
    assert len(truth) and len(predicted)
    assert truth[:, 1].mean() > predicted[:, 1].mean()


def test_empty_masks_are_drawn_without_contours(tmp_path):
    empty = np.zeros((8, 8), bool)
    overlay(
        tmp_path / "o.png", [Picture("empty", np.zeros((8, 8), np.float32), empty, empty, (1, 2))]
    )
    assert (tmp_path / "o.png").stat().st_size > 1000


def test_boxes_are_drawn_for_every_organ_and_nan_is_left_out(tmp_path):
    values = {"liver": {"ours": [0.5, 0.6, NONE], "theirs": [0.2]}, "lung": {"ours": [0.1]}}
    boxes(tmp_path / "b.png", values, "Dice")
    assert matplotlib.image.imread(tmp_path / "b.png").shape[2] == 4


@pytest.mark.filterwarnings("error")
def test_pictures_hold_names_of_any_length_number_and_kind(tmp_path):
    long = [
        f"{n} ssm-sam kind=sam-tiny test-rate=0.003 init-from=sam init-from.steps=600" * 3
        for n in "ab"
    ]
    strange = ["costs $a$ and $", "_hidden", "a|b", *(f"method {n}" for n in range(30))]
    names = long + strange
    boxes(tmp_path / "b.png", {"liver": {name: [0.5, 0.6] for name in names}}, "Dice")
    curves(tmp_path / "c.png", {f"Dice/{name}": ([1, 2], [0, 0.1]) for name in names}, marker="o")
    for name in ("b.png", "c.png"):
        height, width, _ = matplotlib.image.imread(tmp_path / name).shape
        assert 400 < width < 2000 and height > 500


def test_curves_are_drawn(tmp_path):
    curves(
        tmp_path / "c.png", {"dice/before": ([1, 2], [0, 0.1]), "dice/after": ([1, 2], [0.1, 0.5])}
    )
    assert matplotlib.image.imread(tmp_path / "c.png").shape[2] == 4


def test_a_file_that_could_not_be_finished_is_not_there(tmp_path):
    with pytest.raises(RuntimeError), beside(tmp_path / "x.json") as part:
        part.write_text("half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_the_grid_of_organs_shows_misses_beside_their_mean():
    whole, missed = Counts(8, 8, 0, 0, 0), Counts(8, 8, 3, 0, 0)
    text = grid("by organ", {"x": {"liver": (0.5, whole), "lung": (0.25, missed)}, "y": {}})
    assert [line.split() for line in text.splitlines()] == [
        ["by", "organ", "liver", "lung"],
        ["x", ".500", "3", "missed,", ".250"],
        ["y"],
    ]
