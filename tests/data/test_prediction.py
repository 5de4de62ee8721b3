"""A mask is what is more likely than not, on the volume's own grid; its largest connected
component is one body."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy.ndimage import label

from jaxmeta.data.grid import Grid
from jaxmeta.data.postprocess import highest, largest, largest_components, predicted_mask

TOUCH = np.ones((3, 3, 3))


@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=6), elements=st.booleans()))
def test_the_largest_component_is_one_of_the_mask_s_and_none_is_larger(mask):
    kept = largest(mask)
    pieces, count = label(mask, TOUCH)
    sizes = np.bincount(pieces.ravel(), minlength=count + 1)[1:]
    assert not (kept & ~mask).any()
    assert kept.sum() == max(sizes, default=0)
    assert label(kept, TOUCH)[1] == min(count, 1)


def test_pieces_that_touch_by_a_corner_are_one():
    mask = np.zeros((4, 4, 4), bool)
    mask[0, 0, 0] = mask[1, 1, 1] = True  # two voxels, one piece
    mask[3, 3, 3] = True
    expected = mask.copy()
    expected[3, 3, 3] = False
    np.testing.assert_array_equal(largest(mask), expected)


def test_probabilities_of_more_than_a_half_are_the_mask():
    probability = np.zeros((3, 4, 4), np.float32)
    probability[0, 0, 0], probability[2, 1:3, 1:3], probability[2, 3, 0] = 0.6, 0.9, 0.5
    grid = Grid((4, 4, 3), np.eye(4), b"", "axial")
    everything = predicted_mask(probability, grid)
    np.testing.assert_array_equal(everything, probability > 0.5)
    one = predicted_mask(probability, grid, largest_component=True)
    assert one[2, 1:3, 1:3].all() and one.sum() == 4


scores = arrays(np.float32, (3, 4, 5), elements=st.sampled_from([-1.0, 0.0, 0.25, 0.5, 1.0]))


@given(scores, st.permutations((1, 300, 7)), st.sampled_from([0.0, 0.5]))
def test_each_place_has_the_value_of_the_highest_score_above_the_threshold(scores, values, above):
    labels = highest(scores, values, above=above)
    wanted = np.where(scores.max(0) > above, np.asarray(values)[scores.argmax(0)], 0)
    np.testing.assert_array_equal(labels, wanted)


def test_a_score_that_is_no_number_wins_nowhere():
    scores = np.array([[np.nan, np.nan], [0.9, 0.1]], np.float32)
    np.testing.assert_array_equal(highest(scores, (1, 2), above=0.5), [2, 0])


def test_of_each_structure_its_own_largest_component_is_kept():
    labels = np.zeros((1, 5, 9), np.uint16)
    labels[0, 0, :4], labels[0, 2, :2], labels[0, 4, 4:9], labels[0, 2, 8] = 300, 300, 2, 2
    kept = largest_components(labels)
    wanted = labels.copy()
    wanted[0, 2] = 0
    np.testing.assert_array_equal(kept, wanted)
