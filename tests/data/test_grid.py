"""Geometry goes there and back: exactly for orientation and axis, to a known accuracy for size."""

import json
from itertools import permutations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmeta.data.grid import (
    Grid,
    from_slices,
    grid_from_json,
    grid_to_json,
    resize_image,
    resize_mask,
    restore,
    sliced_shape,
    spacing,
    to_slices,
)
from jaxmeta.data.orientation import AXES
from tests.helpers.scans import oriented

CODES = [
    "".join(pair[flip >> axis & 1] for axis, pair in enumerate(order))
    for order in permutations(("RL", "AP", "SI"))
    for flip in range(8)
]


def grid_of(codes="RAS", shape=(5, 6, 7), axis="axial", zooms=(1.5, 1.25, 4.0)):
    return Grid(shape, oriented(codes, shape, zooms), b"", axis)


@given(st.sampled_from(CODES), st.sampled_from(AXES))
def test_every_orientation_and_axis_goes_there_and_back_exactly(codes, axis):
    grid = grid_of(codes, axis=axis)
    array = np.arange(5 * 6 * 7).reshape(5, 6, 7)
    slices = to_slices(array, grid)
    assert slices.shape == sliced_shape(grid)
    np.testing.assert_array_equal(from_slices(slices, grid), array)


@given(st.sampled_from(CODES), st.sampled_from(AXES))
def test_the_same_anatomy_in_any_orientation_gives_the_same_slices(codes, axis):
    """nibabel's own reorientation is the reference."""
    array = np.arange(5 * 6 * 7, dtype=np.int16).reshape(5, 6, 7)
    grid = grid_of(codes, axis=axis)
    ras = nib.as_closest_canonical(nib.Nifti1Image(array, grid.affine))
    cut = AXES.index(axis)
    slices = np.moveaxis(ras.get_fdata(), cut, 0)
    if axis == "coronal":  # which run to the back, so that (row, column, slice) is right-handed
        slices = slices[::-1]
    np.testing.assert_array_equal(to_slices(array, grid), slices)
    zooms = ras.header.get_zooms()
    order = [cut, *(other for other in range(3) if other != cut)]
    np.testing.assert_allclose(spacing(grid), [zooms[n] for n in order], rtol=1e-6)


def test_an_oblique_volume_is_cut_along_the_nearest_axis():
    turn = np.deg2rad(20)
    affine = np.diag([2.0, 2.0, 5.0, 1.0])
    affine[:2, :2] = 2 * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    grid = Grid((4, 5, 6), affine, b"", "axial")
    assert sliced_shape(grid) == (6, 4, 5)
    np.testing.assert_allclose(spacing(grid), (5, 2, 2))


@given(
    st.floats(-1e3, 1e3),
    st.floats(0.01, 50),
    st.binary(min_size=348, max_size=348),
    st.integers(1, 9),
)
def test_a_grid_survives_json(shift, zoom, header, size):
    affine = np.diag([zoom, zoom / 3, zoom * 7, 1.0])
    affine[:3, 3] = shift
    grid = Grid((size, 2, 3), affine, header, "coronal")
    again = grid_from_json(json.loads(json.dumps(grid_to_json(grid))))
    assert again._replace(affine=None) == grid._replace(affine=None)
    assert again.affine.tobytes() == affine.tobytes()
    order = (1, 0, 2), (True, False, True)
    again = grid_from_json(json.loads(json.dumps(grid_to_json(grid._replace(order=order)))))
    assert again.order == order


@given(st.integers(8, 90), st.integers(8, 90), st.integers(8, 90))
def test_resizing_puts_a_ramp_where_it_belongs(height, width, size):
    """A pixel's value is that of its center: exactly where pixels shrink, nearly where they
    grow."""
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    resized = resize_image(np.stack([rows, columns]), size, grid_of(shape=(height, width, 2)))
    for ramp, n in zip((resized[0], resized[1].T), (height, width), strict=True):
        center = (np.arange(size) + 0.5) * n / size - 0.5
        inner = (center > max(1, n / size)) & (center < n - 1 - max(1, n / size))
        tolerance = 1e-4 if n <= size else 0.1 * n / size
        np.testing.assert_allclose(ramp[inner, 0], center[inner], atol=tolerance)


@given(st.integers(2, 90), st.integers(2, 90), st.integers(1, 90), st.floats(-1e4, 1e4))
def test_resizing_keeps_a_constant_and_stays_within_its_range(height, width, size, value):
    grid = grid_of(shape=(height, width, 2))
    constant = np.full((1, height, width), value, np.float32)
    tolerance = 1e-5 * abs(value) + 1e-6
    np.testing.assert_allclose(resize_image(constant, size, grid), value, atol=tolerance)
    noise = np.random.default_rng(0).uniform(-1, 1, (1, height, width)).astype(np.float32)
    assert np.abs(resize_image(noise, size, grid)).max() <= 1 + 1e-5


def test_shrinking_averages_instead_of_skipping_pixels():
    """Stripes that are finer than the new pixels become grey, not stripes of another width."""
    stripes = np.tile((np.arange(96) % 3 == 0).astype(np.float32), (1, 96, 1))
    shrunk = resize_image(stripes, 24, grid_of(shape=(96, 96, 2)))[:, :, 1:-1]
    np.testing.assert_allclose(shrunk, 1 / 3, atol=0.05)


def test_a_pixel_that_is_just_half_covered_belongs():
    """So that a mask between two coarse pixels keeps both of its ends, not one or none."""
    square = np.zeros((1, 64, 64), np.uint8)
    square[:, 17:47, 9:39] = 1
    small = resize_mask(square, 32, grid_of(shape=(64, 64, 2)))[0]
    assert small.any(1).nonzero()[0].tolist() == list(range(8, 24))
    assert small.any(0).nonzero()[0].tolist() == list(range(4, 20))


@pytest.mark.parametrize("size", [16, 31, 64, 100])
def test_resizing_to_the_own_size_changes_nothing(size):
    rng = np.random.default_rng(0)
    grid = grid_of(shape=(size, size, 2))
    image = rng.normal(size=(2, size, size)).astype(np.float32)
    mask = rng.integers(0, 2, (2, size, size)).astype(np.uint8)
    np.testing.assert_array_equal(resize_image(image, size, grid), image)
    np.testing.assert_array_equal(resize_mask(mask, size, grid), mask)
    np.testing.assert_array_equal(restore(image, grid), image)


@settings(max_examples=25)
@given(st.integers(64, 300), st.integers(64, 300), st.integers(0, 999))
def test_discs_come_back_where_they_were(height, width, seed):
    """Shrunk to 64 and back: on average within a tenth of a small pixel, also at even factors."""
    rng = np.random.default_rng(seed)
    plane = np.array([height, width])
    center = plane * rng.uniform(0.4, 0.6, (16, 2))
    radius = plane * rng.uniform(0.2, 0.35, (16, 2))
    position = np.moveaxis(np.mgrid[:height, :width], 0, -1)
    inside = ((position - center[:, None, None]) / radius[:, None, None]) ** 2
    discs = (inside.sum(-1) < 1).astype(np.uint8)
    grid = grid_of(shape=(height, width, 2))
    back = (restore(resize_mask(discs, 64, grid), grid) >= 0.5).astype(np.uint8)

    def centroids(masks):
        return np.array([np.argwhere(mask).mean(0) for mask in masks]) * 64 / plane

    assert (np.abs((centroids(back) - centroids(discs)).mean(0)) < 0.1).all()
    assert 2 * (back & discs).sum() / (back.sum() + discs.sum()) > 0.97


@pytest.mark.parametrize("factor", [2, 4])
def test_an_even_factor_moves_nothing(factor):
    """Where the nearest pixel would always be the upper one of two."""
    square = np.zeros((1, 64, 64), np.uint8)
    square[:, 16:48, 8:40] = 1
    grid = grid_of(shape=(64, 64, 2))
    small = resize_mask(square, 64 // factor, grid)
    assert small[0].sum() * factor**2 == square.sum()
    assert ((restore(small, grid) >= 0.5) != square).sum() in (0, 4)  # its corners at most


def test_a_physical_spacing_keeps_size_and_pads_or_crops_at_the_center():
    """A 20 mm wide box is 10 pixels wide at 2 mm, whatever the scan's own zooms."""
    grid = grid_of(shape=(60, 80, 2), zooms=(1.0, 0.5, 4.0))  # 60 mm by 40 mm
    box = np.zeros((1, 60, 80), np.uint8)
    box[:, 20:40, 20:60] = 1  # 20 mm by 20 mm at the center
    small = resize_mask(box, 32, grid, spacing=2.0)[0]  # shows 64 mm by 64 mm
    assert np.argwhere(small).min(0).tolist() == [11, 11]
    assert np.argwhere(small).max(0).tolist() == [20, 20]
    image = resize_image(np.ones((1, 60, 80), np.float32), 32, grid, spacing=2.0, fill=-3.0)[0]
    seen = np.argwhere(np.abs(image - 1) < 1e-5)
    assert (image[np.abs(image - 1) > 1e-5] == -3).all()
    assert seen.min(0).tolist() == [1, 6] and seen.max(0).tolist() == [30, 25]
    back = restore(small[None], grid, spacing=2.0) >= 0.5
    assert (back != box).sum() == 4  # linear interpolation rounds the corners


def test_what_a_physical_crop_never_saw_comes_back_as_nothing():
    grid = grid_of(shape=(64, 64, 2), zooms=(1.0, 1.0, 4.0))
    back = restore(np.ones((1, 16, 16), np.float32), grid, spacing=1.0)[0]
    assert back.sum() == 16 * 16 and (back[24:40, 24:40] == 1).all()
