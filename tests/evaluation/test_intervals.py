"""t intervals against hand-computed ones, and what they must respect; their coverage is in
tests/experiments/test_null_simulation.py."""

import itertools

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from experiments.studies.percentile_bootstrap import bounds
from jaxmeta.evaluation.intervals import holm, interval
from jaxmeta.evaluation.variance import Level, numbered

floats = st.floats(0, 1, allow_subnormal=False)


def one_stratum(units, name="patients"):
    return Level(units, [0] * len(units), name)


def patients_of(values, **how):
    """Take the interval of values of one patient each, all of one organ."""
    return interval(
        np.array(values, float), ["a"] * len(values), [one_stratum(range(len(values)))], **how
    )


def test_groups_weigh_the_same_whatever_their_size():
    values = np.array([1.0, 1, 1, 0])
    result = interval(values, ["liver"] * 3 + ["spleen"], [one_stratum(range(4))])
    assert result.mean == 0.5


def test_records_without_a_number_are_as_if_they_were_not_there():
    values = np.array([0.2, np.nan, 0.4, 0.7, np.nan])
    with_them = interval(values, ["a"] * 5, [one_stratum(range(5))])
    assert with_them == interval(values[[0, 2, 3]], ["a"] * 3, [one_stratum([0, 2, 3])])
    assert with_them.records == 3


def test_no_number_at_all_gives_nan():
    result = interval(np.array([np.nan]), ["a"], [one_stratum([0])])
    assert np.isnan([result.mean, result.low, result.high]).all()
    assert result.records == 0


@pytest.mark.parametrize("count", [2, 3, 4, 10, 40])
def test_of_one_level_it_is_student_s_interval_and_test(count):
    values = np.random.default_rng(count).normal(0.1, 0.2, count)
    result = patients_of(values)
    half = stats.t.ppf(0.975, count - 1) * values.std(ddof=1) / count**0.5
    assert result[:3] == pytest.approx((values.mean(), values.mean() - half, values.mean() + half))
    assert result.p == pytest.approx(stats.ttest_1samp(values, 0).pvalue, rel=1e-6)


def test_four_patients_by_hand():
    """Of .1, .4, .5 and .9 the deviation is .3304, and t with 3 degrees 3.1824."""
    result = patients_of([0.1, 0.4, 0.5, 0.9])
    assert result[:3] == pytest.approx((0.475, -0.0507, 1.0007), abs=1e-4)
    assert patients_of([0.1, 0.4, 0.5, 0.9], limits=(0.0, 1.0))[:3] == (pytest.approx(0.475), 0, 1)


def test_crossed_levels_by_hand():
    """Each level has its own quantile: 2 supports t(1), 3 patients t(2), of the variance of its
    means."""
    table = np.array([[0.1, 0.3, 0.8], [0.2, 0.5, 0.6]])  # supports x patients
    support, patient = (index.ravel().tolist() for index in np.indices(table.shape))
    levels = [one_stratum(patient), one_stratum(support, "supports")]
    result = interval(table.ravel(), ["a"] * 6, levels)
    parts = [
        stats.t.ppf(0.975, len(means) - 1) ** 2 * means.var(ddof=1) / len(means)
        for means in (table.mean(0), table.mean(1))
    ]
    assert result.high - result.mean == pytest.approx(sum(parts) ** 0.5)
    assert result.over == ("patients", "supports")


def test_strata_add_up_and_whole_degrees_above_the_fewest_count():
    """Two data sets of 2 and 4 patients: Satterthwaite's degrees lie between 1 and 4, rounded
    down."""
    first, second = np.array([0.1, 0.5]), np.array([0.2, 0.3, 0.9, 0.4])
    level = Level(list(range(6)), ["ct"] * 2 + ["mr"] * 4, "patients")
    result = interval(np.concatenate([first, second]), ["a"] * 2 + ["b"] * 4, [level])
    parts = np.array([first.var(ddof=1) / 2, second.var(ddof=1) / 4]) / 4
    degrees = parts.sum() ** 2 / (parts[0] ** 2 / 1 + parts[1] ** 2 / 3)
    assert 2 < degrees < 3
    half = stats.t.ppf(0.975, 2) * parts.sum() ** 0.5
    assert result.high - result.mean == pytest.approx(half)


def test_units_are_compared_inside_their_stratum_only():
    """Data sets that differ are no reason for doubt, patients that differ are."""
    values = np.array([0.2, 0.3, 0.8, 0.9])
    organ = ["a", "a", "b", "b"]
    apart = interval(values, organ, [Level([0, 1, 2, 3], ["ct", "ct", "mr", "mr"])])
    same = interval(
        values - [0, 0, 0.6, 0.6], organ, [Level([0, 1, 2, 3], ["ct", "ct", "mr", "mr"])]
    )
    assert apart.high - apart.mean == pytest.approx(same.high - same.mean)


def test_an_organ_of_two_data_sets_is_a_stratified_mean():
    """Of 2 and 6 patients: the first weigh a quarter, whoever of them is left out."""
    first, second = np.array([0.1, 0.5]), np.array([0.2, 0.3, 0.9, 0.4, 0.5, 0.7])
    level = Level(list(range(8)), ["ct"] * 2 + ["mr"] * 6, "patients")
    result = interval(np.concatenate([first, second]), ["a"] * 8, [level])
    parts = np.array([first.var(ddof=1) / 2 / 4**2, second.var(ddof=1) / 6 * (3 / 4) ** 2])
    degrees = np.floor(parts.sum() ** 2 / (parts[0] ** 2 / 1 + parts[1] ** 2 / 5))
    half = stats.t.ppf(0.975, degrees) * parts.sum() ** 0.5
    assert result.high - result.mean == pytest.approx(half)


def test_a_unit_alone_in_its_stratum_joins_another_that_shares_its_organ():
    values = np.array([0.2, 0.3, 0.5, 0.8])
    alone = interval(values, ["a"] * 4, [Level([0, 1, 2, 3], ["ct", "ct", "ct", "mr"], "patients")])
    assert alone == patients_of(values)


def test_one_unit_tells_nothing_of_a_level():
    one = interval(np.array([0.2, 0.4]), ["a"] * 2, [one_stratum([0, 0])])
    assert (
        np.isnan([one.low, one.high, one.p]).all()
        and one.over == ()
        and one.mean == pytest.approx(0.3)
    )
    organ = ["a", "a", "b"]  # all that is known of b is of one patient
    assert np.isnan(interval(np.array([0.2, 0.4, 0.9]), organ, [one_stratum([0, 1, 0])]).low)
    patients, support = one_stratum([0, 1, 2]), one_stratum([0, 0, 0], "supports")
    values = np.array([0.2, 0.4, 0.9])
    both = interval(values, ["a"] * 3, [patients, support])
    assert both == patients_of(values) and both.over == ("patients",)


def test_a_level_nested_in_another_varies_with_it_and_is_counted_once():
    """Each run has patients of its own: how runs' means differ holds how patients do."""
    means = np.array([0.1, 0.4, 0.3])
    run = np.repeat([0, 1, 2], 4).tolist()
    values = np.repeat(means, 4) + np.tile([-0.1, 0.1, -0.2, 0.2], 3)
    patients = Level(list(range(12)), run, "patients")
    result = interval(values, ["a"] * 12, [patients, one_stratum(run, "runs")])
    assert result[1:3] == pytest.approx(patients_of(means)[1:3])
    assert result.over == ("patients", "runs")
    twice = interval(
        values, ["a"] * 12, [one_stratum(range(12)), one_stratum(range(12), "supports")]
    )
    assert twice[:3] == patients_of(values)[:3] and twice.over == ("patients", "supports")


def test_an_organ_that_few_patients_have_leaves_few_degrees():
    values = np.array([0.4, 0.5, 0.6, 0.5, 0.4, 0.6, 0.1, 0.9])
    result = interval(values, ["a"] * 6 + ["b"] * 2, [one_stratum([*range(6), 0, 1])])
    assert result.high - result.mean > stats.t.ppf(0.975, 1) * 0.5 * 0.8 / 2 * 0.99


def test_organs_of_the_same_patients_have_their_degrees_once_and_of_others_twice():
    """Equal variances of two organs: 4 patients of both have 3 degrees, 4 of each have 6."""
    values = np.array([0.1, 0.2, 0.4, 0.7])
    both = interval(np.tile(values, 2), ["a"] * 4 + ["b"] * 4, [one_stratum([*range(4)] * 2)])
    assert both[:3] == pytest.approx(patients_of(values)[:3])
    each = interval(np.tile(values, 2), ["a"] * 4 + ["b"] * 4, [one_stratum(range(8))])
    half = stats.t.ppf(0.975, 6) * values.std(ddof=1) / 8**0.5
    assert each.high - each.mean == pytest.approx(half)


def test_repeating_a_patient_s_score_does_not_narrow_the_interval():
    values = np.random.default_rng(1).uniform(size=12)
    units = np.repeat(np.arange(12), 5).tolist()
    often = interval(np.repeat(values, 5), ["a"] * 60, [one_stratum(units)])
    assert often[:3] == pytest.approx(patients_of(values)[:3])


@settings(max_examples=30)
@given(st.lists(floats, min_size=2, max_size=12), st.floats(-1, 1), st.randoms())
def test_neither_a_shift_nor_the_order_changes_its_width(values, shift, random):
    values = np.array(values)
    assume(not 0 < np.ptp(values) < 1e-9)  # which a shift rounds away
    before, after = patients_of(values), patients_of(values + shift)
    assert after.high - after.low == pytest.approx(before.high - before.low, abs=1e-6, nan_ok=True)
    support = [n % 2 for n in range(len(values))]
    order = random.sample(range(len(values)), len(values))
    units = np.arange(len(values)) // 2

    def taken(at):
        levels = [
            one_stratum([units[n] for n in at]),
            one_stratum([support[n] for n in at], "supports"),
        ]
        return interval(values[at], ["a"] * len(at), levels)

    assert taken(order)[:3] == pytest.approx(taken(list(range(len(values))))[:3], nan_ok=True)


@settings(max_examples=30)
@given(st.lists(floats, min_size=6, max_size=12), st.floats(-1, 1))
def test_a_constant_difference_has_an_interval_of_no_width(values, gain):
    values = np.array(values)
    result = patients_of((values + gain) - values)
    assert result[:3] == pytest.approx((gain,) * 3, abs=1e-9)


@pytest.mark.parametrize("gain", [0.01, 0.0, -0.3])
@pytest.mark.parametrize("count", [2, 3, 5, 6, 7, 30])
def test_a_few_units_that_are_all_alike_are_no_certainty(count, gain):
    """Two patients of equal differences, two cases that were missed: how others differ, nobody
    knows.

    Of n patients who would be ahead or behind by the toss of a coin all are on one side with 2 /
    2^n, which is .05 and less from 6 on.
    """
    found = patients_of([gain] * count)
    assert found.mean == pytest.approx(gain) and found.records == count
    if count < 6:
        assert np.isnan([found.low, found.high, found.p]).all() and found.over == ()
    else:
        assert (found.low, found.high) == pytest.approx((gain, gain)) and found.over == (
            "patients",
        )
        assert found.p == (2 / 2**count if gain else 1)
    # another organ of the same patients is no other patient
    same = [one_stratum([*range(count)] * 2)]
    twice = interval(np.full(2 * count, gain), ["a"] * count + ["b"] * count, same)
    assert twice[:3] == pytest.approx(found[:3], nan_ok=True) and twice.over == found.over
    assert twice.p == pytest.approx(found.p, nan_ok=True)


def test_a_level_of_a_few_units_all_alike_is_left_out_and_the_others_tell_what_they_do():
    """As a level of one unit is: `over` does not promise what two equal supports cannot tell."""
    values = np.array([0.1, 0.4, 0.5, 0.9])
    crossed = [one_stratum([0, 1, 2, 3] * 2), one_stratum([0] * 4 + [1] * 4, "supports")]
    found = interval(np.tile(values, 2), ["a"] * 8, crossed)
    assert found[:3] == pytest.approx(patients_of(values)[:3]) and found.over == ("patients",)
    nothing = interval(np.full(8, 0.1), ["a"] * 8, crossed)
    assert np.isnan([nothing.low, nothing.high, nothing.p]).all() and nothing.over == ()
    # Runs with cohorts of their own, of equal means: what is left is how their patients differ.
    runs = [one_stratum(range(8)), one_stratum([0] * 4 + [1] * 4, "runs")]
    nested = interval(np.tile(values, 2), ["a"] * 8, runs)
    half = stats.t.ppf(0.975, 7) * np.tile(values, 2).std(ddof=1) / 8**0.5
    assert nested.high - nested.mean == pytest.approx(half) and nested.over == ("patients",)
    six = [one_stratum([0, 1, 2, 3] * 6), one_stratum(np.repeat(range(6), 4).tolist(), "supports")]
    assert interval(np.tile(values, 6), ["a"] * 24, six).over == ("patients", "supports")


@settings(max_examples=50)
@given(st.lists(st.floats(-1, 1), min_size=4, max_size=12), st.floats(-0.5, 0.5))
def test_p_is_below_five_percent_exactly_where_the_interval_is_without_0(values, shift):
    values = np.array(values) + shift
    support = one_stratum([n % 2 for n in range(len(values))], "supports")
    level = one_stratum([n // 2 for n in range(len(values))])
    for levels in ([one_stratum(range(len(values)))], [level, support]):
        found = interval(values, ["a"] * len(values), levels)
        assert (found.p < 0.05) == (found.low > 0 or found.high < 0)


def test_with_twenty_units_and_more_it_is_as_wide_as_the_bootstrap():
    rng = np.random.default_rng(0)
    patient, support = (index.ravel() for index in np.indices((40, 24)))
    values = (
        rng.normal(0, 0.1, 40)[patient] + rng.normal(0, 0.1, 24)[support] + rng.normal(0, 0.1, 960)
    )
    levels = [one_stratum(patient.tolist()), one_stratum(support.tolist(), "supports")]
    found = interval(values, ["a"] * 960, levels)
    low, high, p = bounds(values[:, None], ["a"] * 960, levels)
    assert found.high - found.low == pytest.approx((high - low)[0], rel=0.1)
    assert found.p == pytest.approx(p[0], abs=0.05)


def test_labels_are_numbered_by_first_appearance():
    assert numbered(["b", "a", "b", "c"]).tolist() == [0, 1, 0, 2]


def test_holm_s_adjustment_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([0.02]) == [0.02]
    unknown, known = holm([float("nan"), 0.01])
    assert np.isnan(unknown) and known == 0.01


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_adjusted_chances_are_no_smaller_and_in_the_same_order(chances):
    adjusted = holm(chances)
    assert all(a >= p for a, p in zip(adjusted, chances, strict=True))
    assert max(adjusted) <= 1
    for i, j in itertools.permutations(range(len(chances)), 2):
        assert chances[i] > chances[j] or adjusted[i] <= adjusted[j]
