"""Bootstrap intervals against closed forms, a golden run, and what resampling must respect."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta import intervals
from jaxmeta.intervals import Level, holm, interval, mean_of_groups, multiplicities, numbered

floats = st.floats(0, 1, allow_subnormal=False)


def one_stratum(units):
    return Level(units, [0] * len(units))


def test_groups_weigh_the_same_whatever_their_size():
    values = np.array([1.0, 1, 1, 0])
    result = interval(values, ["liver"] * 3 + ["spleen"], [one_stratum(range(4))])
    assert result.mean == 0.5


def test_missing_numbers_are_left_out_and_counted():
    result = interval(np.array([0.2, np.nan, 0.4]), ["a"] * 3, [one_stratum(range(3))])
    assert result.mean == pytest.approx(0.3)
    assert result.records == 2


def test_no_number_at_all_gives_nan():
    result = interval(np.array([np.nan]), ["a"], [one_stratum([0])])
    assert np.isnan([result.mean, result.low, result.high]).all()
    assert result.records == 0


def test_four_patients_give_the_bounds_of_all_256_equally_likely_resamples():
    values = np.array([0.1, 0.4, 0.5, 0.9])
    every = [np.mean(drawn) for drawn in itertools.product(values, repeat=4)]
    result = interval(values, ["a"] * 4, [one_stratum(range(4))], samples=4000, seed=3)
    assert result.mean == pytest.approx(0.475)
    assert (result.low, result.high) == pytest.approx((0.2, 0.775))
    assert (result.low, result.high) == pytest.approx(np.percentile(every, [2.5, 97.5]))


def test_the_interval_of_many_patients_agrees_with_the_normal_one():
    values = np.random.default_rng(0).normal(0.5, 0.1, 400)
    result = interval(values, ["a"] * 400, [one_stratum(range(400))])
    half = 1.96 * values.std() / 20
    assert result.low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert result.high == pytest.approx(values.mean() + half, abs=0.1 * half)


def test_repeating_a_patient_s_score_does_not_narrow_the_interval():
    values = np.random.default_rng(1).uniform(size=12)
    once = interval(values, ["a"] * 12, [one_stratum(range(12))])
    often = interval(
        np.repeat(values, 5), ["a"] * 60, [one_stratum(np.repeat(np.arange(12), 5).tolist())]
    )
    assert often[:3] == pytest.approx(once[:3])


def test_resampling_supports_too_widens_an_interval_that_supports_decide():
    support = np.repeat([0.0, 1.0, 0.0, 1.0], 20)
    patient = one_stratum(np.tile(np.arange(20), 4).tolist())
    draws = one_stratum(np.repeat(np.arange(4), 20).tolist())
    narrow = interval(support, ["a"] * 80, [patient])
    wide = interval(support, ["a"] * 80, [patient, draws])
    assert narrow.low == narrow.high == 0.5
    assert (wide.low, wide.high) == (0.0, 1.0)


def test_units_are_exchanged_inside_their_stratum_only():
    level = Level([0, 1, 0, 1, 2], ["ct", "ct", "mr", "mr", "mr"])
    counts, units = multiplicities(level, 200, np.random.default_rng(0))
    drawn = counts[:, units]
    assert (drawn[:, :2].sum(axis=1) == 2).all()
    assert (drawn[:, 2:].sum(axis=1) == 3).all()
    assert drawn.std() > 0


def test_an_organ_without_weight_leaves_the_others_mean():
    means = mean_of_groups(np.array([0.2, 0.8]), np.array([0, 1]), np.array([[1.0, 0], [0, 0]]))
    assert means[0] == 0.2
    assert np.isnan(means[1])


@given(st.lists(floats, min_size=1, max_size=12), st.integers(0, 5))
def test_the_bounds_enclose_only_values_that_occur(values, seed):
    values = np.array(values)
    result = interval(values, ["a"] * len(values), [one_stratum(range(len(values)))], seed=seed)
    tiny = 1e-12
    assert values.min() - tiny <= result.low <= result.high <= values.max() + tiny


@given(st.lists(floats, min_size=2, max_size=12), st.floats(-1, 1))
def test_a_constant_difference_has_an_interval_of_no_width(values, gain):
    values = np.array(values)
    result = interval(
        (values + gain) - values, ["a"] * len(values), [one_stratum(range(len(values)))]
    )
    assert result[:3] == pytest.approx((gain,) * 3, abs=1e-9)


def test_memory_is_bounded_in_blocks_that_do_not_show(monkeypatch):
    values = np.random.default_rng(2).uniform(size=30)
    levels = [one_stratum(range(30))]
    whole = interval(values, ["a"] * 30, levels, samples=100)
    monkeypatch.setattr(intervals, "BLOCK", 210)
    assert interval(values, ["a"] * 30, levels, samples=100) == whole


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


def test_p_is_small_far_from_zero_and_one_in_its_middle():
    rng = np.random.default_rng(0)
    values = rng.normal(size=40)
    level = [one_stratum(range(40))]
    assert interval(values + 2, ["a"] * 40, level).p == pytest.approx(1 / 2000)
    assert interval(values - values.mean(), ["a"] * 40, level).p > 0.8
    # about what the normal distribution says at two standard errors
    two = values - values.mean() + 2 * values.std() / 40**0.5
    assert 0.02 < interval(two, ["a"] * 40, level).p < 0.08
