"""Ranges are read off histograms, survive any scale, and network input is what it says."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.data.grid import Grid, resize_image
from jaxmeta.data.intensity import CT, Intensity, histogram, measure_intensity
from jaxmeta.data.scan import Scale, Scan, network_input
from jaxmeta.errors import BadInput
from tests.helpers.scans import oriented


def brain(shape=(40, 40, 10), seed=0):
    """A scan with half of its voxels background 0 and a bright spot."""
    rng = np.random.default_rng(seed)
    volume = np.zeros(shape, np.int16)
    volume[:, :20] = rng.normal(400, 60, (shape[0], 20, shape[2])).clip(1)
    volume[0, 0, 0] = 30000
    return volume


def normalize(values: np.ndarray, intensity: Intensity) -> np.ndarray:
    """Map real units to what a network sees, as the definition says."""
    clipped = np.clip(values.astype(np.float32), intensity.low, intensity.high)
    return (clipped - np.float32(intensity.mean)) / np.float32(intensity.std)


def test_ct_has_one_window_whatever_the_voxels():
    assert measure_intensity(brain() - np.int16(400), "ct") == CT
    assert measure_intensity(np.where(brain() > 0, 40, -1000).astype(np.int16), "ct") == CT
    flat = np.array([-2000, -160, 40, 240, 9000]).repeat(16).reshape(5, 4, 4)
    grid = Grid((4, 4, 5), np.eye(4), b"", "axial")
    seen = network_input(Scan(flat, Scale(), grid, CT), range(5), 4)
    np.testing.assert_allclose(seen[:, 0, 0, 0], [-2, -2, 0, 2, 2], atol=1e-6)


def test_mr_percentiles_are_those_of_the_voxels_that_are_not_background():
    volume = brain()
    found = measure_intensity(volume, "mr")
    inside = volume[volume != 0]
    want = np.percentile(inside, (0.5, 99.5), method="inverted_cdf")
    np.testing.assert_array_equal(found[:2], want)
    np.testing.assert_allclose(found.mean, inside.clip(*want).mean(), rtol=1e-12)
    np.testing.assert_allclose(found.std, inside.clip(*want).std(), rtol=1e-9)


@given(st.floats(1e-3, 1e3), st.floats(-1e4, 1e4), st.booleans())
def test_what_a_network_sees_does_not_depend_on_the_scanners_scale(slope, shift, negative):
    """Also z-scores, where the background is negative and zero an ordinary value."""
    slope = -slope if negative else slope
    volume = brain()
    plain = normalize(volume, measure_intensity(volume, "mr"))
    scaled = measure_intensity(volume, "mr", slope=slope, intercept=shift)
    seen = normalize(slope * volume.astype(np.float64) + shift, scaled)
    np.testing.assert_allclose(
        seen, -plain if negative else plain, atol=2e-3 * (1 + abs(shift / slope) / 1e4)
    )


def test_a_z_scored_volume_keeps_its_contrast():
    volume = brain().astype(np.float32)
    scores = (volume - volume.mean()) / volume.std()
    seen = normalize(scores, measure_intensity(scores, "mr"))
    plain = normalize(volume, measure_intensity(volume, "mr"))
    np.testing.assert_allclose(seen[:, :20], plain[:, :20], atol=0.1)
    assert seen[:, :20].std() > 0.5


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int16])
def test_the_histogram_counts_every_voxel(dtype):
    rng = np.random.default_rng(0)
    info = np.iinfo(dtype)
    volume = rng.integers(info.min, info.max, (30, 40, 200), dtype, endpoint=True)
    first, counts = histogram(volume.transpose(2, 0, 1))
    values, want = np.unique(volume, return_counts=True)
    np.testing.assert_array_equal(counts[values.astype(int) - first], want)
    assert counts.sum() == volume.size


def test_a_constant_volume_is_refused():
    with pytest.raises(BadInput, match="every voxel has the value 7"):
        measure_intensity(np.full((4, 4, 4), 7, np.int16), "mr")


def test_a_volume_of_two_values_still_has_a_scale():
    volume = np.zeros((10, 10, 10), np.uint8)
    volume[3:5] = 9
    found = measure_intensity(volume, "mr")
    assert found.std > 0 and np.isfinite(normalize(volume, found)).all()
    assert normalize(volume, found)[3, 0, 0] > normalize(volume, found)[0, 0, 0]


@pytest.mark.parametrize("spacing", [None, 1.0, 3.0])
@pytest.mark.parametrize(("slope", "intercept"), [(1.0, 0.0), (0.5, -100.0), (-2.0, 7.0)])
def test_network_input_is_the_resized_normalized_slice(spacing, slope, intercept):
    grid = Grid((40, 30, 10), oriented("RAS", (40, 30, 10)), b"", "axial")
    stored = np.moveaxis(brain((40, 30, 10)), 2, 0)
    found = measure_intensity(stored, "mr", slope=slope, intercept=intercept)
    scan = Scan(stored, Scale(slope, intercept), grid, found)
    seen = network_input(scan, range(10), 24, spacing)
    window = normalize(slope * stored.astype(np.float32) + intercept, found)
    lowest = (found.low - found.mean) / found.std
    want = resize_image(window, 24, grid, spacing=spacing, fill=lowest)
    assert seen.shape == (10, 24, 24, 1) and seen.dtype == np.float32
    np.testing.assert_allclose(seen[..., 0], want, atol=2e-4)
