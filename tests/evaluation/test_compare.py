"""Means and paired differences of small hand-made tables."""

import itertools

import numpy as np
import pytest

from jaxmeta.evaluation.comparison import (
    difference,
    evaluation_cases,
    margin,
    other_means,
    row_mean,
    runs,
    standings,
    supports,
)
from jaxmeta.evaluation.intervals import holm
from jaxmeta.evaluation.protocols.shared_patients import SUPPORT_SLICES
from jaxmeta.evaluation.scoring import Score


def score(
    row, patient, dice, *, organ="heart", support_set=0, run="r", outcome="scored", slices=None
):
    return Score(
        row=row,
        organ=organ,
        support_set=support_set,
        support_patients=f"a/s{support_set}",
        support_slices=slices or f"a/s{support_set}:3",
        patient=f"a/{patient}",
        case=f"a/{patient}",
        dice=dice,
        iou=dice / (2 - dice),
        outcome=outcome,
        shots=1,
        run=run,
    )


def test_organs_weigh_the_same_in_a_row_s_mean():
    scores = [score("x", 1, 0.8), score("x", 2, 0.6), score("x", 1, 0.1, organ="liver")]
    mean, counts = row_mean(scores)
    assert mean.mean == pytest.approx((0.7 + 0.1) / 2)
    assert counts.cases == 3


def test_cases_without_a_number_are_counted():
    scores = [
        score("x", 1, 0.8),
        score("x", 2, np.nan, outcome="empty"),
        score("x", 3, 0, outcome="missed"),
    ]
    mean, counts = row_mean(scores)
    assert mean.mean == pytest.approx(0.4)
    assert (counts.cases, counts.valid, counts.missed, counts.empty) == (3, 2, 1, 1)


def test_differences_are_taken_case_by_case_and_only_where_both_have_one():
    ours = [score("x", 1, 0.9), score("x", 2, 0.5), score("x", 3, 0.3)]
    theirs = [score("y", 2, 0.4), score("y", 1, 0.6), score("y", 4, 0.0)]
    result = difference(ours, theirs)
    assert result.mean == pytest.approx((0.3 + 0.1) / 2)
    assert result.records == 2


def test_a_gain_that_all_patients_share_is_certain_however_much_they_differ():
    rng = np.random.default_rng(0)
    theirs = [score("y", n, value) for n, value in enumerate(rng.uniform(0, 0.8, 20))]
    ours = [c._replace(row="x", dice=c.dice + 0.1) for c in theirs]
    result = difference(ours, theirs)
    assert result[:3] == pytest.approx((0.1, 0.1, 0.1))
    own, _ = row_mean(ours)
    assert own.high - own.low > 0.1


def test_a_gain_that_hangs_on_the_support_is_uncertain_however_many_patients_there_are():
    theirs = [score("y", n, 0.5, support_set=d) for n in range(50) for d in range(4)]
    ours = [c._replace(row="x", dice=0.5 + (0.4 if c.support_set < 2 else -0.2)) for c in theirs]
    result = difference(ours, theirs)
    assert result.mean == pytest.approx(0.1)
    assert result.low < 0 < result.high


def test_an_interval_over_runs_too_is_wider_where_runs_decide():
    theirs = [
        score("y", n, 0.5, run=r, support_set=d) for n in range(8) for r in "abc" for d in range(6)
    ]
    gain = {"a": 0.3, "b": 0.0, "c": 0.0}
    ours = [c._replace(row="x", dice=0.5 + gain[c.run]) for c in theirs]
    narrow, wide = difference(ours, theirs), difference(ours, theirs, runs_too=True)
    assert narrow.mean == wide.mean == pytest.approx(0.1)
    assert narrow.low == pytest.approx(0.1)
    # three runs of mean .1 and deviation .1732, t with 2 degrees 4.3027
    assert (wide.low, wide.high) == pytest.approx((0.1 - 0.4303, 0.1 + 0.4303), abs=1e-4)
    assert wide.over == ("patients", "supports", "runs") and narrow.over == wide.over[:2]


def test_a_support_that_several_runs_share_is_one_unit_and_others_are_exchanged_inside_their_run():
    shared = supports([score("x", 1, 0, run="a"), score("x", 1, 0, run="b")])
    assert len(set(shared.unit)) == 1
    own = supports([score("x", 1, 0, run="a"), score("x", 1, 0, run="b", support_set=1)])
    assert len(set(own.unit)) == len(set(own.stratum)) == 2


def test_a_support_patient_is_one_unit_whatever_slices_and_organs_they_give():
    """A patient unlike others gives badly for every organ: two organs of theirs are no two
    proofs."""
    scores = [score("x", 1, 0), score("x", 1, 0, organ="liver"), score("x", 1, 0, slices="a/s0:7")]
    assert len(set(supports(scores).unit)) == len(set(supports(scores).stratum)) == 1
    for nobody in (SUPPORT_SLICES, ()):  # as a cell of scores.csv has them
        own = [c._replace(support_patients=" ".join(nobody)) for c in scores]
        assert len(set(supports(own).unit)) == 2, "then the slices are what is drawn"


@pytest.mark.parametrize("count", [1, 2])
def test_a_support_patient_with_a_name_of_their_own_is_a_unit_as_one_of_a_data_set_is(count):
    """People whom `patient_pattern` names have no data set before their name: they give
    supports all the same."""
    rng = np.random.default_rng(0)
    theirs = [
        score("y", n, 0.5, organ=o, support_set=d, slices=f"a/s{d}:{s}")
        for s, (o, d, n) in enumerate(itertools.product(("heart", "liver"), range(3), range(6)))
    ]
    theirs = [
        c._replace(support_patients=" ".join(f"a/s{c.support_set}.{n}" for n in range(count)))
        for c in theirs
    ]
    ours = [c._replace(row="x", dice=c.dice + g) for c, g in zip(theirs, rng.normal(0, 0.1, 36))]

    def named(scores):
        return [c._replace(support_patients=c.support_patients.replace("a/", "")) for c in scores]

    assert len(set(supports(named(ours)).unit)) == 3
    assert len(set(supports(named(ours)).stratum)) == 1
    assert difference(named(ours), named(theirs)) == difference(ours, theirs)


def test_runs_are_exchanged_with_those_that_left_out_the_same_organ():
    """Else how organs differ would be taken for how runs do."""
    organ = dict.fromkeys("abcdef", "heart") | dict.fromkeys("ghijkl", "liver")
    theirs = [score("y", n, 0.5, run=r, organ=organ[r]) for n in range(8) for r in organ]
    ours = [c._replace(row="x", dice=0.9 if c.organ == "heart" else 0.5) for c in theirs]
    found = difference(ours, theirs, runs_too=True)
    assert (found.low, found.mean, found.high) == pytest.approx((0.2, 0.2, 0.2))
    assert margin(ours, theirs).runs == found
    alone = [[c for c in scores if c.run in "abcdefg"] for scores in (ours, theirs)]
    assert margin(*alone).runs is None, "nothing tells how runs for the liver differ"


def test_runs_that_each_left_out_an_organ_of_their_own_have_no_interval_over_runs():
    """Nothing replicates, so an interval over runs would be the other one again, bit for bit."""
    organ = dict(a="heart", b="liver", c="lung")
    theirs = [
        score("y", n, 0.05 * n, run=r, organ=organ[r], support_set=d)
        for n in range(6)
        for r in "abc"
        for d in range(3)
    ]
    ours = [c._replace(row="x", dice=c.dice + 0.1 * (c.support_set - 1)) for c in theirs]
    found = margin(ours, theirs)
    assert found.runs is None and found.widest.over == ("patients", "supports")
    twice = (
        [c._replace(run=c.run + "2", dice=c.dice + 0.02) for c in ours],
        [c._replace(run=c.run + "2") for c in theirs],
    )
    assert margin(ours + twice[0], theirs + twice[1]).runs.over == ("patients", "supports", "runs")


def test_one_support_is_not_covered_and_one_patient_has_no_interval():
    theirs = [score("y", n, 0.5) for n in range(4)]
    ours = [c._replace(row="x", dice=0.5 + 0.1 * n) for n, c in enumerate(theirs)]
    assert difference(ours, theirs).over == ("patients",)
    assert row_mean(ours)[0].over == ("patients",)
    alone, _ = row_mean(ours[:1])
    assert np.isnan([alone.low, alone.high, alone.p]).all() and alone.over == ()


def test_the_interval_of_a_dice_stays_where_a_dice_can_lie():
    scores = [score("x", 1, 0.95), score("x", 2, 0.75)]
    found, _ = row_mean(scores)
    assert found.high == 1.0 and found.low == 0.0
    gap = difference(
        scores, [c._replace(row="y", dice=0.9 if n else 0.1) for n, c in enumerate(scores)]
    )
    assert (gap.low, gap.high) == (-1.0, 1.0)


def test_runs_that_share_an_organ_are_exchanged_though_one_has_another_besides():
    scores = [score("x", 1, 0, run="a"), score("x", 1, 0, run="b")]
    scores += [score("x", 1, 0, run="b", organ="liver"), score("x", 1, 0, run="c", organ="lung")]
    stratum = runs(scores).stratum
    assert stratum[0] == stratum[1] == stratum[2] != stratum[3]


def comparison(runs="a"):
    """Make cases of two methods and scratch: the first is .2 ahead of scratch, the second .05."""
    scratch = [
        score("scratch", n, 0.4 + 0.05 * n + 0.02 * d, support_set=d, run=r)
        for n in range(6)
        for d in range(2)
        for r in runs
    ]
    ahead = {"second": 0.05, "first": 0.2}
    return scratch + [
        c._replace(row=row, dice=c.dice + more) for row, more in ahead.items() for c in scratch
    ]


def test_a_comparison_ranks_methods_and_holds_them_against_scratch_and_the_best():
    first, second, scratch = standings(comparison(), ["second", "first"], "scratch")
    assert [first.row, second.row, scratch.row] == ["first", "second", "scratch"]
    assert first.ahead.supports[:3] == pytest.approx((0.2, 0.2, 0.2))
    assert second.ahead.supports[:3] == pytest.approx((0.05, 0.05, 0.05))
    assert second.behind.supports[:3] == pytest.approx((0.15, 0.15, 0.15))
    assert first.behind is scratch.behind is scratch.ahead is None
    assert scratch.counts.cases == second.behind.supports.records == 12


def test_a_named_row_is_held_against_every_other_but_those_apart():
    lines = standings(comparison(), ["second", "first"], "scratch", reference="second")
    gaps = {line.row: line.behind and line.behind.supports.mean for line in lines}
    assert gaps == {"first": pytest.approx(-0.15), "second": None, "scratch": pytest.approx(0.05)}
    named = standings(comparison(), ["first"], "second", apart=["scratch"], reference="first")
    assert [line.row for line in named if line.behind] == ["second"]


def test_a_comparison_pairs_cases_by_their_question_in_whatever_order_they_come():
    shuffled = [comparison()[n] for n in np.random.default_rng(1).permutation(36)]
    ranked = standings(shuffled, ["second", "first"], "scratch")
    assert ranked[1].behind.supports[:3] == pytest.approx((0.15, 0.15, 0.15))
    assert ranked[0].ahead.supports[:3] == pytest.approx((0.2, 0.2, 0.2))


def test_the_best_of_these_cases_is_one_of_all_pairs_and_a_named_row_of_its_own_alone():
    """Three methods: the best has two comparisons of three that chose it; a named one has just its
    two."""
    rng = np.random.default_rng(0)
    scratch = [score("c", n, 0.4 + 0.02 * n) for n in range(8)]
    scores = [
        c._replace(row=row, dice=c.dice + more + rng.normal(0, 0.03))
        for row, more in (("a", 0.06), ("b", 0.03), ("c", 0.0))
        for c in scratch
    ]
    rows = {row: [c for c in scores if c.row == row] for row in "abc"}
    p = {pair: difference(rows[pair[0]], rows[pair[1]]).p for pair in ("ab", "ac", "bc")}
    best = {line.row: line.chance for line in standings(scores, list("abc"), "none")}
    every = dict(zip(p, holm(list(p.values())), strict=True))
    assert best["b"] == every["ab"] and best["c"] == every["ac"] and np.isnan(best["a"])
    named = {
        line.row: line.chance for line in standings(scores, list("abc"), "none", reference="a")
    }
    assert [named["b"], named["c"]] == holm([p["ab"], p["ac"]])
    assert named["b"] < best["b"]


def test_an_interval_is_over_runs_too_where_there_are_several():
    one, several = (standings(comparison(r), ["second", "first"], "scratch") for r in ("a", "ab"))
    assert one[1].behind.runs is one[0].ahead.runs is None
    assert several[1].behind.runs is None, "how two equal runs differ from others nobody knows"
    assert several[1].behind.supports.mean == pytest.approx(0.15)
    scores = [
        c._replace(dice=c.dice + (0.1 if (c.row, c.run) == ("first", "b") else 0))
        for c in comparison("ab")
    ]
    margin = standings(scores, ["second", "first"], "scratch")[1].behind
    assert margin.supports.mean == margin.runs.mean == pytest.approx(0.2)  # of .15 and .25
    # two runs of deviation .0707, t with 1 degree 12.706
    assert (margin.runs.low, margin.runs.high) == pytest.approx(
        (0.2 - 0.6353, 0.2 + 0.6353), abs=1e-4
    )
    assert margin.supports.low == pytest.approx(0.2)


def test_rows_apart_and_comparisons_without_scratch_have_no_distance_to_it():
    bound = [score("bound", n, 0.9) for n in range(4)]
    lines = standings(comparison() + bound, ["first", "second"], "scratch", apart=["bound"])
    assert lines[-1].row == "bound" and lines[-1].ahead is None
    without = [c for c in comparison() if c.row != "scratch"]
    assert [line.ahead for line in standings(without, ["first", "second"], "scratch")] == [None] * 2


def test_a_method_without_a_number_comes_last():
    scores = [c._replace(dice=np.nan) if c.row == "second" else c for c in comparison()]
    assert [line.row for line in standings(scores, ["second", "first"], "x")][:2] == [
        "first",
        "second",
    ]


def test_questions_tell_supports_apart_that_have_the_same_number():
    ours, theirs = [score("x", 1, 0.5)], [score("y", 1, 0.1)]
    assert evaluation_cases(ours) == evaluation_cases(theirs)
    assert evaluation_cases(ours) != evaluation_cases([score("y", 1, 0.1, slices="a/s0:4")])


def test_other_means_are_of_organs_first_and_apart_without_misses():
    scores = [
        score("x", 1, 0.5, organ="liver")._replace(hd95=10.0),
        score("x", 2, 0.0, organ="liver", outcome="missed")._replace(hd95=90.0),
        score("x", 1, 0.5, organ="lung")._replace(hd95=4.0),
    ]
    found = other_means(scores)
    assert found["hd95"] == ((50 + 4) / 2, (10 + 4) / 2)
    assert np.isnan(found["nsd"].all)  # which no case has


def test_people_of_no_data_set_are_compared_among_each_other():
    """A patient whose name is his own (`patient_pattern` with a person) is no group of one."""
    scores = [score("x", n, 0.1 * n)._replace(patient=f"person{n}") for n in range(10)]
    in_one = [score("x", n, 0.1 * n) for n in range(10)]
    own, usual = row_mean(scores)[0], row_mean(in_one)[0]
    assert own.low < own.mean < own.high and own.high - own.low == usual.high - usual.low
