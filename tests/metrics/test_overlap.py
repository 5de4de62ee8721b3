"""Overlap measures against hand-counted masks and the properties that any mask must obey."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxmeta.metrics import (
    Counts,
    Overlap,
    count,
    dice,
    iou,
    outcome,
    overlap,
    precision,
    recall,
    volume_error,
)

masks = arrays.arrays(bool, (3, 4, 2))


def test_two_of_three_voxels_in_common_give_dice_two_thirds_and_iou_one_half():
    predicted = np.array([[1, 1, 1, 0]], bool)
    target = np.array([[0, 1, 1, 1]], bool)
    counted = overlap(predicted, target)
    assert counted == Overlap(2, 3, 3)
    assert dice(counted) == pytest.approx(2 / 3)
    assert iou(counted) == pytest.approx(1 / 2)


def test_a_cube_shifted_by_a_fifth_of_its_side_has_dice_four_fifths():
    target = np.zeros((32, 32, 32), bool)
    target[8:18, 8:18, 8:18] = True
    assert dice(overlap(np.roll(target, 2, axis=0), target)) == pytest.approx(0.8)


def test_a_spurious_cube_lowers_dice_as_counted_by_hand():
    target = np.zeros((32, 32, 32), bool)
    target[8:18, 8:18, 8:18] = True
    predicted = target.copy()
    predicted[26:29, 26:29, 26:29] = True
    assert dice(overlap(predicted, target)) == pytest.approx(2000 / 2027)


@pytest.mark.parametrize(
    ("predicted", "target", "named", "value"),
    [(0, 0, "empty", None), (0, 1, "missed", 0), (1, 0, "false alarm", 0), (1, 1, "scored", 1)],
)
def test_empty_masks_are_scored_by_the_stated_policy(predicted, target, named, value):
    counted = overlap(np.full((2, 2), predicted, bool), np.full((2, 2), target, bool))
    assert outcome(counted) == named
    for measure in (dice, iou):
        result = measure(counted)
        assert np.isnan(result) if value is None else result == value


def test_counts_name_every_kind_of_case():
    seen = ["scored", "missed", "missed", "false alarm", "empty", "scored"]
    assert count(seen) == Counts(cases=6, valid=5, missed=2, false_alarms=1, empty=1)


@given(masks, masks)
def test_overlap_is_symmetric_bounded_and_iou_follows_dice(predicted, target):
    counted, mirrored = overlap(predicted, target), overlap(target, predicted)
    np.testing.assert_equal(dice(counted), dice(mirrored))
    np.testing.assert_equal(iou(counted), iou(mirrored))
    if not np.isnan(dice(counted)):
        assert 0 <= iou(counted) <= dice(counted) <= 1
        assert iou(counted) == pytest.approx(dice(counted) / (2 - dice(counted)))


@given(masks)
def test_a_mask_matches_itself_perfectly_unless_it_is_empty(mask):
    value = dice(overlap(mask, mask))
    assert value == 1 if mask.any() else np.isnan(value)


@given(masks, masks, st.permutations(range(3)), st.integers(0, 2))
def test_scores_do_not_depend_on_orientation(predicted, target, order, axis):
    def turned(mask):
        return np.flip(np.transpose(mask, order), axis)

    assert overlap(turned(predicted), turned(target)) == overlap(predicted, target)


@given(masks, masks)
def test_removing_a_wrong_voxel_never_lowers_dice(predicted, target):
    wrong = np.argwhere(predicted & ~target)
    if len(wrong) and target.any():
        better = predicted.copy()
        better[tuple(wrong[0])] = False
        assert dice(overlap(better, target)) >= dice(overlap(predicted, target))


def test_precision_recall_and_volume_error_have_a_side_each():
    counted = Overlap(both=2, predicted=4, target=5)
    assert (precision(counted), recall(counted)) == (0.5, 0.4)
    assert volume_error(counted) == pytest.approx(-0.2)
    assert np.isnan(precision(Overlap(0, 0, 5))) and np.isnan(recall(Overlap(0, 4, 0)))
    assert np.isnan(volume_error(Overlap(0, 4, 0))) and volume_error(Overlap(0, 0, 5)) == -1
