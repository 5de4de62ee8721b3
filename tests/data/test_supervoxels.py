"""Pieces of a volume that look alike: what bounds them, what is left out, how they are stored."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmeta.data import supervoxels as module
from jaxmeta.data.intensity import Intensity
from jaxmeta.data.shards.load import load_masks
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards, structures
from jaxmeta.data.supervoxels import SIDE, nearest_known, supervoxels
from jaxmeta.errors import BadInput
from tests.helpers.cohorts import write_scans


def blocks():
    """Two bright boxes in the dark: 10 slices of 40 x 60."""
    volume = np.zeros((10, 40, 60), np.int16)
    volume[2:8, 8:20, 8:24] = 100
    volume[3:9, 22:34, 34:54] = 60
    return volume


INTENSITY = Intensity(0.0, 100.0, 15.0, 30.0)


def test_pieces_end_where_the_intensity_does_and_the_dark_is_none():
    volume = blocks()
    cut = supervoxels(volume, INTENSITY, (3.0, 1.0, 1.0), 30)
    assert cut.shape == volume.shape and cut.max() >= 2
    inside = cut > 0
    overlap = 2 * (inside & (volume > 0)).sum() / (inside.sum() + (volume > 0).sum())
    assert overlap > 0.95
    for piece in range(1, cut.max() + 1):
        values, counts = np.unique(volume[cut == piece], return_counts=True)
        assert counts.max() / counts.sum() > 0.9


def test_numbers_are_the_same_in_any_unit():
    volume = blocks()
    cut = supervoxels(volume, INTENSITY, (3.0, 1.0, 1.0), 30)
    scaled = supervoxels(
        (volume * 2 + 8).astype(np.int16), INTENSITY, (3.0, 1.0, 1.0), 30, slope=0.5, intercept=-4.0
    )
    np.testing.assert_array_equal(cut, scaled)


def test_large_slices_are_cut_small_and_shown_at_their_own_size():
    volume = np.repeat(np.repeat(blocks(), 5, 1), 4, 2)  # 200 x 240
    cut = supervoxels(volume, INTENSITY, (3.0, 0.2, 0.25), 30)
    assert cut.shape == volume.shape
    inside = cut > 0
    assert 2 * (inside & (volume > 0)).sum() / (inside.sum() + (volume > 0).sum()) > 0.95


@given(st.integers(1, 1024), st.integers(1, 256))
def test_no_center_is_nearer_than_the_nearest(count, known):
    """And the way there and back is not shifted: turned around, a side is seen turned around."""
    found = nearest_known(count, known)
    centers = (np.arange(count) + 0.5) / count
    off = np.abs(centers[:, None] - (np.arange(known)[None] + 0.5) / known)
    np.testing.assert_allclose(off[np.arange(count), found], off.min(1), atol=1e-12)
    even = ((2 * np.arange(count) + 1) * known) % (2 * count) == 0  # as near to two: the later
    turned = known - 1 - found[::-1]
    np.testing.assert_array_equal(found, turned + even)


@settings(max_examples=20)
@given(st.integers(SIDE + 1, 3 * SIDE), st.integers(0, 2**16))
def test_borders_come_back_where_they_were_at_any_side(side, seed):
    """A box anywhere, cut where it is half as bright: no edge is off by more than rounding to small
    pixels."""
    rng = np.random.default_rng(seed)
    first = rng.integers(side // 8, side // 2, 2)
    last = first + rng.integers(side // 4, 3 * side // 8, 2)
    volume = np.zeros((2, side, side), np.int16)
    volume[:, first[0] : last[0], first[1] : last[1]] = 100
    bright = (50 - INTENSITY.mean) / INTENSITY.std
    with mock.patch.object(module, "slic", lambda seen, **how: 1 + (seen > bright)):
        inside = supervoxels(volume, INTENSITY, (3.0, 1.0, 1.0), 2)[1] > 0
    off = []
    for axis, (begin, end) in enumerate(zip(first, last, strict=True)):
        seen = np.flatnonzero(inside.any(1 - axis))
        off += [seen[0] - begin, seen[-1] + 1 - end]
    assert np.abs(off).max() < (side / SIDE + 1) / 2


def test_on_average_nothing_is_shifted():
    """Over sides and places the mean displacement of a border is nothing, for half a voxel
    before."""
    off = []
    for side in (130, 160, 200, 255, 256, 300, 383):
        for place in range(side // 4, 3 * side // 4, 7):
            edge = np.arange(side) >= place  # seen small by its centers, and brought back
            off.append(
                np.argmax(edge[nearest_known(SIDE, side)][nearest_known(side, SIDE)]) - place
            )
    assert abs(np.mean(off)) < 0.1 and np.abs(off).max() <= 2


def test_shards_hold_them_beside_the_organs_and_not_among_them(tmp_path):
    write_scans(tmp_path / "belly", ["liver", "kidney"], 2, 0)
    plain = prepare([tmp_path / "belly"], tmp_path / "plain", size=16, workers=1)
    told = prepare([tmp_path / "belly"], tmp_path / "cut", size=16, workers=1, supervoxels=12)
    assert plain.datasets == told.datasets
    shards = open_shards([tmp_path / "cut"])
    assert structures(shards) == ["kidney", "liver"]
    for number, volume in enumerate(shards.volumes):
        assert len(volume.supervoxels) >= 2
        total = len(volume.counts["liver"])
        shown = [load_masks(shards, number, range(total), name) for name in volume.supervoxels]
        assert np.sum(shown, axis=0).max() == 1  # no voxel in two pieces
        for masks, count in zip(shown, volume.supervoxels.values(), strict=True):
            np.testing.assert_array_equal(masks.sum((1, 2)), count)
    assert open_shards([tmp_path / "plain"]).volumes[0].supervoxels == {}


def test_a_number_that_is_none_is_refused(tmp_path):
    with pytest.raises(BadInput, match="`supervoxels=-1`: must be at least 0"):
        prepare([tmp_path], tmp_path / "out", supervoxels=-1)
