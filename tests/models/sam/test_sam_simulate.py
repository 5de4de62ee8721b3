"""What is pointed at: boxes around masks, corners that are a little off, clicks that lie inside."""

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from jaxmeta.bounding_boxes import box_around
from jaxmeta.models.sam.simulate import ANYWHERE, SHARE, click_on, drawn_on, jittered

DRAWN_ON = jax.jit(drawn_on, static_argnums=1)
JITTERED = jax.jit(jittered, static_argnums=1)
MASKS = arrays(np.uint8, (2, 7, 9), elements=st.integers(0, 1))


@given(MASKS)
def test_a_box_is_the_smallest_that_holds_a_structure(mask):
    for (left, top, right, bottom), each in zip(box_around(mask), mask, strict=True):
        if not each.any():
            assert (left, top, right, bottom) == (0, 0, 8, 6)
            continue
        rows, columns = np.nonzero(each)
        assert (left, right) == (columns.min(), columns.max())
        assert (top, bottom) == (rows.min(), rows.max())


def test_a_box_is_the_same_of_numpy_and_jax():
    mask = (np.random.default_rng(0).random((5, 8, 8)) > 0.9).astype(np.uint8)
    np.testing.assert_array_equal(box_around(mask), jax.jit(box_around)(jnp.asarray(mask)))


def test_corners_are_off_by_a_tenth_of_the_side_and_stay_in_the_image():
    box = jnp.tile(jnp.array([[400.0, 300.0, 500.0, 500.0]]), (4000, 1))
    moved = np.asarray(JITTERED(box, 1024, jax.random.key(0)) - box)
    np.testing.assert_allclose(
        moved.std(0), [9.6, 14.4, 9.6, 14.4], rtol=0.06
    )  # of 10 and 20, cut at 20
    assert np.abs(moved).max() <= 20 and SHARE == 0.1
    whole = np.tile(np.array([[0.0, 0.0, 255.0, 255.0]], np.float32), (50, 1))
    edge = np.asarray(JITTERED(jnp.asarray(whole), 256, jax.random.key(1)))
    assert edge.min() >= 0 and edge.max() <= 255 and np.abs(edge - whole).max() <= 5


def test_points_lie_on_masks_drawn_together_each_pixel_as_often_as_it_is_in_one():
    """By hand: four pixels, one of them in both masks, so two draws of five are there."""
    masks = np.zeros((2, 4, 6), np.uint8)
    masks[0, [0, 1, 3], [0, 4, 5]] = masks[1, [1, 2], [4, 1]] = 1
    points = np.asarray(DRAWN_ON(jnp.asarray(masks), 4000, jax.random.key(0)))
    found, counts = np.unique(points, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, [[0, 0], [1, 2], [4, 1], [5, 3]])
    np.testing.assert_allclose(counts / 4000, [0.2, 0.2, 0.4, 0.2], atol=0.03)


def test_points_of_two_keys_are_others_on_a_mask_and_on_none():
    for mask in (jnp.ones((1, 16, 16)), jnp.zeros((1, 16, 16))):
        one, again, two = (DRAWN_ON(mask, 20, jax.random.key(seed)) for seed in (0, 0, 1))
        np.testing.assert_array_equal(one, again)
        assert (one != two).any(1).mean() > 0.5
    np.testing.assert_array_equal(two[:ANYWHERE], two[ANYWHERE:])  # without any to be seen


def test_a_click_lies_on_its_own_mask_and_anywhere_where_that_is_empty():
    mask = np.zeros((3, 8, 8), np.uint8)
    mask[0, 2, 5] = mask[1, 6, 1] = 1
    clicks = np.asarray(jax.jit(click_on)(jnp.asarray(mask), jax.random.key(0)))
    np.testing.assert_array_equal(clicks[:2, 0], [[5, 2], [1, 6]])
    assert 0 <= clicks[2].min() and clicks[2].max() < 8
