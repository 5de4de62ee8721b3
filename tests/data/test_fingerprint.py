"""A fingerprint is of a scan's real values: however a copy stores them, it is the same scan."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmeta.data.fingerprint import fingerprint
from jaxmeta.data.formats.image import read_image, rescaled
from tests.helpers.scans import oriented

SHAPE = (17, 19, 11)
STORED = {
    np.uint8: (0, 255),
    np.int16: (-1024, 3071),
    np.uint16: (0, 65535),
    np.int32: (-70000, 70000),
}
SCALES = ((1.0, -1024.0), (2.0, 5.0), (0.5, 0.0), (0.1, -3.0), (-1.0, 7.0), (-0.37, 2))


def written(path, array, scale=(1.0, 0.0)):
    """Save numbers as they are, with a slope and an intercept beside them."""
    header = nib.Nifti1Header()
    header.set_data_shape(array.shape)
    header.set_data_dtype(array.dtype)
    header.set_slope_inter(*scale)
    header.set_sform(oriented("RAS", array.shape), 1)
    header["magic"], header["vox_offset"] = b"n+1", 352
    path.write_bytes(header.binaryblock + b"\0" * 4 + array.tobytes(order="F"))
    return path


def saved(path, array):
    """Save an array as most scripts do."""
    nib.save(nib.Nifti1Image(array, oriented("PSR", array.shape)), path)
    return path


def of(path):
    """Read a file and shorten it."""
    image = read_image(path)
    return fingerprint(image.values, image.slope, image.intercept)


@pytest.mark.parametrize("stored", STORED)
@pytest.mark.parametrize("scale", SCALES)
def test_a_copy_by_its_real_values_is_the_same_scan(tmp_path, stored, scale):
    """As `nib.save(nib.Nifti1Image(scan.get_fdata(), ...))` makes it, and in 32 bits where these
    hold it."""
    if stored == np.int32 and scale[0] < 0:
        pytest.skip("rounded to 65,536 levels from the other end, and so the copy's may be others")
    low, high = STORED[stored]
    values = np.random.default_rng(0).integers(low, high, SHAPE, stored, endpoint=True)
    path = written(tmp_path / "a.nii", values, scale)
    real = nib.load(path).get_fdata()
    assert of(saved(tmp_path / "b.nii", real)) == of(path)
    other = real.copy()
    other[3, 4, 5] += 3 * abs(scale[0]) if other[3, 4, 5] < real.mean() else -3 * abs(scale[0])
    if stored != np.int32:  # more levels than are kept: a small difference may be none
        assert of(saved(tmp_path / "c.nii", other)) != of(path)
    if all(number.is_integer() for number in map(float, scale)):
        assert of(saved(tmp_path / "d.nii", real.astype(np.float32))) == of(path)
        assert of(saved(tmp_path / "e.nii", real.astype(np.int32))) == of(path)
        assert of(saved(tmp_path / "f.nii", real + 1000)) == of(path)  # in other units of CT


@given(st.integers(0, 99), st.floats(1e-3, 1e3), st.floats(-1e3, 1e3))
@settings(max_examples=10)
def test_float_values_are_one_scan_in_32_bits_and_in_64(tmp_path_factory, seed, spread, middle):
    folder = tmp_path_factory.mktemp("float")
    values = np.random.default_rng(seed).normal(middle, spread, SHAPE).astype(np.float32)
    one = of(saved(folder / "a.nii", values))
    assert of(saved(folder / "b.nii", values.astype(np.float64))) == one
    values[0, 0, 0] += spread
    assert of(saved(folder / "c.nii", values)) != one


def test_it_is_of_a_large_scan_what_it_is_of_a_small_one():
    """Rows are folded as levels: whole multiples, from zeros alone in the first row on."""
    values = np.zeros((128, 128, 35), np.int16, order="F")
    values[..., 20:] = np.random.default_rng(0).integers(0, 900, (128, 128, 15))
    own = fingerprint(values)
    assert fingerprint(6 * values - np.int16(3000)) == own == fingerprint(values, 0.25, 7.5 - 0.5)
    assert fingerprint(-values, -3.0) == own != fingerprint(-values)
    values[..., 30] += 1
    assert fingerprint(values) != own
    assert len(fingerprint(np.full((3, 4, 5), 7, np.int16))) == 16


def test_rescaled_to_hu_a_ct_is_the_scan_that_it_was(tmp_path):
    values = np.random.default_rng(0).integers(0, 4095, SHAPE).astype(np.int16)
    image = read_image(saved(tmp_path / "a.nii", values))
    hu = rescaled(image, (1.0, -1024.0))
    assert fingerprint(hu.values, hu.slope, hu.intercept) == of(tmp_path / "a.nii")
