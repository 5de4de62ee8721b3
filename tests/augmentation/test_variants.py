"""The five looks of MLB-Seg: as published, linear, and back again."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmeta.augmentation.variants import (
    LOOKS,
    between,
    come_back,
    draw_looks,
    look,
    look_again,
    look_back,
    looks,
    scaled,
    shown,
)
from tests.helpers.sizes import golden


@pytest.fixture(scope="module")
def published():
    with np.load(golden("mlb_seg_variants.npz")) as file:
        return {name: file[name] for name in file.files if name != "config"}


def test_slices_are_resized_as_opencv_does(published):
    """Half-pixel bilinear, edges repeated, nothing averaged when shrinking."""
    given = published["resize/in9"]
    for size in (5, 7, 12, 17, 27):
        matrix = between(*scaled(jnp.arange(size), 9, size), 9)
        np.testing.assert_allclose(
            matrix @ given @ matrix.T, published[f"resize/out{size}"], atol=1e-6
        )


def test_looks_and_ways_back_are_the_published_code_s(published):
    given = looks(jnp.asarray(published["draws_a_b2_b3_flip"])[None], 144)
    seen = look(given, jnp.asarray(published["input/image"])[None])[0]
    np.testing.assert_array_equal(seen[0], published["input/image"])
    np.testing.assert_allclose(seen[1], published["variant/image_1"], atol=1e-6)
    np.testing.assert_allclose(seen[2], published["variant/image_2"], atol=1e-6)
    np.testing.assert_allclose(seen[3, ::2, ::2], published["variant/image_3@stride2"], atol=1e-6)
    np.testing.assert_array_equal(seen[4], published["input/image"][:, ::-1])
    labels = look(given, jnp.asarray(published["input/label"], jnp.float32)[None])[0]
    tied = np.abs(labels - 0.5) < 1e-4
    assert tied.sum((1, 2)).tolist() == [
        *published["variant/label_tie_count_abs_v_minus_half_lt_1e-4"]
    ]
    np.testing.assert_array_equal((labels > 0.5)[~tied], published["variant/label_bool"][~tied] > 0)
    maps = look_back(given, jnp.asarray(published["input/p"])[None, :, 0])[0]
    for number in (1, 2, 3):
        np.testing.assert_allclose(maps[number], published[f"inverse/p_{number}"], atol=1e-6)
    mean = maps.mean(0)
    np.testing.assert_allclose(mean, published["ensemble/q"], atol=1e-6)
    again = look(given, mean[None])[0]
    np.testing.assert_allclose(again[:, ::3, ::3], published["ensemble/T_k_q@stride3"], atol=1e-6)


@given(st.integers(0, 99), st.sampled_from([24, 64]))
@settings(max_examples=10)
def test_what_a_look_shows_comes_back(seed, size):
    """A smooth slice, up to what two interpolations blur; flips exactly."""
    given = draw_looks(jax.random.key(seed), 2, size)
    y, x = np.mgrid[:size, :size] / size
    smooth = jnp.asarray(np.stack([np.sin(3 * y + x), np.cos(2 * x - y)]), jnp.float32)
    maps, valid = look_back(given, look(given, smooth)), come_back(given)
    assert valid[:, 0].all() and valid[:, 4].all() and valid[:, 2:4].mean() > 0.8
    apart = jnp.abs(maps - smooth[:, None]) * valid
    assert apart[:, :4].max() < 2 / size  # half a pixel, where an edge is repeated
    np.testing.assert_array_equal(maps[:, 4], smooth)


@given(st.integers(0, 999))
@settings(max_examples=20)
def test_draws_are_the_published_ones(seed):
    """4, 6, ..., 30 pixels of 144 on each side, the farther looks different: told by the zeros."""
    given = draw_looks(jax.random.key(seed), 1, 144)
    borders = [int((given.rows[0, k].sum(1) < 0.5).sum()) // 2 for k in (2, 3)]
    assert borders[0] != borders[1] and set(borders) <= set(range(4, 31, 2))
    ring = (given.back_rows[0, 1].sum(1) < 0.999).sum()
    assert ring > 0  # what was cut away does not come back
    mirrors = [bool(side[0, 4, 0, -1]) for side in (given.rows, given.columns)]
    assert any(mirrors)


@given(st.integers(0, 999))
@settings(max_examples=20)
def test_what_has_its_side_is_not_mirrored_but_seen_nearer_twice(seed):
    """A mirror makes one column of a matrix rise where another falls; nearer looks are apart."""
    given = draw_looks(jax.random.key(seed), 1, 144, mirrors=False)
    center = jnp.arange(144) - 71.5
    for side in (given.rows, given.columns):
        seen = side[0] @ center  # where each pixel of a look lies in the slice
        assert (jnp.diff(seen) >= 0)[jnp.array([0, 1, 4])].all()
        near, nearer = (float(seen[k, -1]) for k in (1, 4))
        assert near < 71.5 > nearer and near != nearer
    maps = look_back(given, look(given, jnp.ones((1, 144, 144))))
    np.testing.assert_allclose(jnp.where(come_back(given), maps, 1.0), 1.0, atol=1e-5)


def test_a_map_comes_to_another_look_over_the_slice():
    given = looks(jnp.array([[3, 2, 4, 3]]), 24)
    maps = jax.random.uniform(jax.random.key(0), (1, LOOKS, 24, 24))
    back = look_back(given, maps)
    for at in range(LOOKS):
        expected = jnp.stack(
            [look(given, look_back(given, maps)[:, k])[:, at] for k in range(LOOKS)], axis=1
        )
        found = jnp.stack([look_again(given, back[:, k], at) for k in range(LOOKS)], axis=1)
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_beyond_the_slice_nothing_is_shown():
    given = looks(jnp.array([[3, 2, 4, 3]]), 24)
    valid = np.asarray(shown(given))[0]
    assert valid[[0, 1, 4]].all()
    for number, by in ((2, 2), (3, 4)):
        inside = np.zeros((24, 24), bool)
        inside[by:-by, by:-by] = True
        np.testing.assert_array_equal(valid[number], inside)
