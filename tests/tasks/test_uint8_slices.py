"""Slices as 8-bit pictures: each from its own least to its own largest value."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from jaxmeta.data.grid import Grid
from jaxmeta.data.released import AS_UINT8, uint8_images, uint8_masks
from jaxmeta.data.shards.load import load_images, load_masks

GRID = Grid((8, 8, 3), np.eye(4), b"", "axial")
slices = arrays.arrays(np.int16, (3, 8, 8), elements=st.integers(-900, 900))


@given(slices, st.integers(1, 5), st.integers(-100, 100))
def test_every_slice_goes_from_0_to_1_whatever_its_unit(native, factor, shift):
    shown = uint8_images(native, GRID, size=8)
    for plane, own in zip(native, shown, strict=True):
        if plane.min() == plane.max():
            assert not own.any()
        else:
            assert own.min() == 0 and own.max() == 1
            assert own.ravel()[plane.argmax()] == 1 and own.ravel()[plane.argmin()] == 0
    assert np.allclose(shown * 255, np.round(shown * 255), atol=1e-4)  # 8 bits
    other = uint8_images((native.astype(np.int32) * factor + shift), GRID, size=8)
    assert np.abs(other - shown).max() <= 1.01 / 255


@given(slices, st.sampled_from([None, 0.5, 1.5, 2.0]), st.sampled_from([1.0, -0.5]))
def test_a_slice_alone_gives_the_picture_that_it_gives_among_others(native, spacing, slope):
    """With a spacing of 2 mm the square shows more than the slice: 8 mm beyond it on either
    side."""
    how = dict(size=8, spacing=spacing, slope=slope)
    together = uint8_images(native, GRID, **how)
    alone = [uint8_images(plane[None], GRID, **how)[0] for plane in native]
    np.testing.assert_array_equal(together, alone)
    if spacing == 2.0:  # what lies beyond is as dark as the slice's darkest
        assert not together[:, :2].any() and not together[:, :, -2:].any()
    masks = (native > 0).astype(np.uint8)
    grown = [uint8_masks(mask[None], 8, GRID, spacing=spacing)[0] for mask in masks]
    np.testing.assert_array_equal(uint8_masks(masks, 8, GRID, spacing=spacing), grown)


def test_a_slope_below_zero_turns_the_picture_around():
    native = np.arange(64, dtype=np.int16).reshape(1, 8, 8)
    shown = uint8_images(native, Grid((8, 8, 1), np.eye(4), b"", "axial"), size=8, slope=-2.0)
    assert shown[0, 0, 0, 0] == 1 and shown[0, -1, -1, 0] == 0


def test_a_small_structure_never_vanishes_and_an_empty_slice_stays_empty():
    native = np.zeros((3, 8, 8), np.uint8)
    native[1, 4, 4] = 1  # a quarter of a pixel at half the size
    small = uint8_masks(native, 4, GRID)
    assert small[1].any() and not small[0].any() and not small[2].any()


def test_shards_give_pictures_where_they_are_told_to(shards):
    as_uint8 = shards._replace(preprocessing=AS_UINT8)
    image = load_images(as_uint8, 0, [4], size=16)
    assert image.min() == 0 and image.max() == 1
    assert load_images(shards, 0, [4], size=16).min() < 0
    whole = load_masks(shards, 0, [4], "liver")
    np.testing.assert_array_equal(load_masks(as_uint8, 0, [4], "liver"), whole)
