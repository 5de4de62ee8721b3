"""Pieces of a volume that look alike: what bounds them, what is left out, how they are stored."""

import numpy as np
import pytest

from jaxmeta.data.intensity import Intensity
from jaxmeta.data.prepare import prepare
from jaxmeta.data.shards import load_masks, open_shards, structures
from jaxmeta.data.supervoxels import supervoxels
from jaxmeta.errors import BadInput
from tests.tasks.cohorts import write_scans


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


def test_shards_hold_them_beside_the_organs_and_not_among_them(tmp_path):
    write_scans(tmp_path / "belly", ["liver", "kidney"], 2, 0)
    plain = prepare([tmp_path / "belly"], tmp_path / "plain", size=16, workers=1)
    told = prepare([tmp_path / "belly"], tmp_path / "cut", size=16, workers=1, supervoxels=12)
    assert plain.datasets == told.datasets
    shards = open_shards([tmp_path / "cut"])
    assert structures(shards) == ["kidney", "liver"]
    for number, volume in enumerate(shards.volumes):
        assert len(volume.pseudo) >= 2
        total = len(volume.counts["liver"])
        shown = [load_masks(shards, number, range(total), name) for name in volume.pseudo]
        assert np.sum(shown, axis=0).max() == 1  # no voxel in two pieces
        for masks, count in zip(shown, volume.pseudo.values(), strict=True):
            np.testing.assert_array_equal(masks.sum((1, 2)), count)
    assert open_shards([tmp_path / "plain"]).volumes[0].pseudo == {}


def test_a_number_that_is_none_is_refused(tmp_path):
    with pytest.raises(BadInput, match="--supervoxels -1: must be at least 0"):
        prepare([tmp_path], tmp_path / "out", supervoxels=-1)
