"""Files are read as they are meant, refused in one line, and masks go back on the same grid."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxmeta.data.formats.formats import case_stem
from jaxmeta.data.formats.image import quantize, read_image, read_label, read_pair
from jaxmeta.data.formats.nifti import save_mask
from jaxmeta.data.grid import Grid
from jaxmeta.errors import BadInput
from tests.helpers.scans import anatomy, oriented, real, save


@given(
    st.sampled_from(
        [np.uint8, np.int8, np.int16, np.uint16, np.int32, np.int64, np.float32]
    ).flatmap(
        lambda dtype: hnp.arrays(
            dtype,
            (3, 4, 5),
            elements=st.integers(0, 200).map(lambda value: value - 90 * (dtype is not np.uint8))
            if dtype is np.int8 or np.dtype(dtype).kind == "f"
            else None,
        )
    )
)
def test_what_fits_in_16_bits_is_kept_exactly_and_the_rest_to_a_65536th(values):
    stored, slope, intercept = quantize(values)
    assert stored.dtype.itemsize <= 2
    back = slope * stored.astype(np.float64) + intercept
    low, high = float(values.min()), float(values.max())
    if high - low <= 65535:
        np.testing.assert_array_equal(back, values.astype(np.float64))
    else:
        assert np.abs(back - values).max() <= 0.5001 * (high - low) / 65535


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("value", [0.1, -3.7e20, 2.0**60])
def test_an_image_of_one_value_is_that_value(value):
    stored, slope, intercept = quantize(np.full((2, 3, 4), value))
    assert (slope * stored.astype(np.float64) + intercept == value).all()


def test_smaller_types_are_not_widened():
    for dtype in (np.uint8, np.int8, np.int16):
        assert quantize(np.zeros((2, 2, 2), dtype))[0].dtype == dtype


def test_wild_voxels_do_not_cost_the_rest_its_contrast():
    values = np.random.default_rng(0).normal(size=(32, 32, 32)).astype(np.float32)
    values[0, 0, 0] = 1e12
    stored, slope, intercept = quantize(values)
    np.testing.assert_allclose((slope * stored + intercept).flat[1:], values.flat[1:], atol=1e-3)
    assert slope * stored[0, 0, 0] + intercept > values.flat[1:].max()


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint16, np.int32, np.float32, np.float64])
def test_images_of_any_type_are_read_with_their_scale(tmp_path, dtype):
    image, _ = anatomy()
    path = save(tmp_path / "a.nii.gz", image.clip(0, 255).astype(dtype), slope=(0.5, -7))
    want = nib.load(path).get_fdata()
    np.testing.assert_allclose(real(read_image(path)), want, atol=1e-3)


def test_both_byte_orders_uncompressed_files_and_nifti2_are_read(tmp_path):
    image, label = anatomy()
    affine = oriented("LPS")
    big = nib.Nifti1Image(image, affine, nib.Nifti1Header(endianness=">"))
    nib.save(big, tmp_path / "big.nii")
    nib.save(nib.Nifti2Image(image, affine), tmp_path / "two.nii.gz")
    for name in ("big.nii", "two.nii.gz"):
        found = read_image(tmp_path / name)
        np.testing.assert_array_equal(found.values, image)
        np.testing.assert_allclose(found.affine, affine)
        grid = Grid(image.shape, found.affine, found.header, "axial")
        save_mask(tmp_path / f"mask_{name}", label, grid)
        again = nib.load(tmp_path / f"mask_{name}")
        assert type(again) is type(nib.load(tmp_path / name))
        np.testing.assert_array_equal(np.asarray(again.dataobj), label)


def test_gzip_in_several_members_is_read(tmp_path):
    image, _ = anatomy()
    save(tmp_path / "a.nii", image)
    data = (tmp_path / "a.nii").read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(data[:1000]) + gzip.compress(data[1000:]))
    np.testing.assert_array_equal(read_image(tmp_path / "a.nii.gz").values, image)


def test_a_trailing_axis_of_one_is_not_a_fourth_dimension(tmp_path):
    image, _ = anatomy()
    path = save(tmp_path / "a.nii.gz", image[..., None], oriented("RAS"))
    np.testing.assert_array_equal(read_image(path).values, image)


@pytest.mark.parametrize("codes", [(1, 2), (0, 2), (1, 0), (4, 3)])
@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PSR"])
def test_a_saved_mask_has_the_images_geometry_to_the_bit(tmp_path, codes, orientation):
    image, label = anatomy()
    path = save(tmp_path / "a.nii.gz", image, oriented(orientation), codes=codes, slope=(2, 5))
    found = read_image(path)
    save_mask(tmp_path / "m.nii.gz", label, Grid(image.shape, found.affine, found.header, "axial"))
    old, new = nib.load(path), nib.load(tmp_path / "m.nii.gz")
    np.testing.assert_array_equal(np.asarray(new.dataobj), label)
    assert new.get_data_dtype() == np.uint8
    for field in ("qform_code", "sform_code", "pixdim", "xyzt_units", "srow_x", "quatern_b", "dim"):
        np.testing.assert_array_equal(old.header[field], new.header[field], err_msg=field)
    np.testing.assert_array_equal(old.affine, new.affine)
    assert [file.name for file in tmp_path.iterdir() if "partial" in file.name] == []


def test_a_saved_mask_is_the_same_bytes_each_time(tmp_path):
    _, label = anatomy()
    found = read_image(save(tmp_path / "a.nii.gz", label))
    grid = Grid(label.shape, found.affine, found.header, "axial")
    for name in ("m.nii.gz", "n.nii.gz"):
        save_mask(tmp_path / name, label, grid)
    assert (tmp_path / "m.nii.gz").read_bytes() == (tmp_path / "n.nii.gz").read_bytes()


def test_labels_stored_as_almost_integers_or_in_64_bits_are_read(tmp_path):
    _, label = anatomy()
    nearly = save(tmp_path / "f.nii.gz", (label * 0.9999).astype(np.float32))
    wide = save(tmp_path / "i.nii.gz", label.astype(np.int64))
    scaled = save(tmp_path / "s.nii.gz", label.astype(np.int16), slope=(2, 0))
    for path in (nearly, wide):
        np.testing.assert_array_equal(read_label(path), label)
        assert read_label(path).dtype.kind in "iu"
    np.testing.assert_array_equal(read_label(scaled), np.asarray(nib.load(scaled).dataobj))


def spoiled(tmp_path: Path, kind: str) -> Path:
    """Write one file that must be refused."""
    image, label = anatomy()
    path = tmp_path / f"{kind}.nii.gz"
    if kind == "truncated":
        save(path, image)
        path.write_bytes(path.read_bytes()[:-300])
    elif kind == "plain":
        save(tmp_path / "plain.nii", image)
        (tmp_path / "plain.nii").rename(path)
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "nothing":
        path.write_bytes(gzip.compress(b""))
    elif kind == "stub":
        path.write_bytes(gzip.compress(bytes(200)))
    elif kind == "text":
        path.write_bytes(gzip.compress(b"not a scan " * 99))
    elif kind == "short":  # a whole gzip of half a file
        save(tmp_path / "a.nii", image)
        path.write_bytes(gzip.compress((tmp_path / "a.nii").read_bytes()[:3000]))
    elif kind == "4d":
        save(path, np.stack([image, image], -1), oriented("RAS"))
    elif kind == "nan":
        holed = image.astype(np.float32)
        holed[1, 2, 3], holed[0, 0, 0] = np.nan, np.inf
        save(path, holed)
    elif kind == "flat":
        save(tmp_path / "a.nii", image, codes=(0, 2))
        data = bytearray((tmp_path / "a.nii").read_bytes())
        data[312:328] = bytes(16)  # srow_z
        path.write_bytes(gzip.compress(data))
    elif kind == "color":
        rgb = np.zeros(image.shape, [("R", "u1"), ("G", "u1"), ("B", "u1")])
        nib.save(nib.Nifti1Image(rgb, np.eye(4)), path)
    elif kind == "half":
        save(path, label * np.float32(0.5))
    elif kind == "negative":
        save(path, label.astype(np.int16) - 1)
    return path


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("truncated", "truncated or damaged gzip"),
        ("plain", "not a gzip file"),
        ("empty", "not a gzip file"),
        ("nothing", "not a NIfTI file"),
        ("stub", "not a NIfTI file"),
        ("text", "not a NIfTI file"),
        ("short", "truncated or damaged"),
        ("4d", "holds 2 channels; choose with `channel` 0 or 1"),
        ("nan", "2 voxels are NaN or Inf; fill them with `fill_nan=VALUE`"),
        ("flat", "singular"),
        ("color", "its voxels are colors"),
    ],
)
def test_an_unusable_image_is_refused_in_one_line_with_its_name(tmp_path, kind, message, caplog):
    path = spoiled(tmp_path, kind)
    with pytest.raises(BadInput, match=message) as caught:
        read_image(path)
    assert not caplog.records  # nibabel's own lines
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "message"), [("half", "holds 0.5"), ("negative", "-1 is negative")]
)
def test_an_unusable_label_is_refused(tmp_path, kind, message):
    with pytest.raises(BadInput, match=message):
        read_label(spoiled(tmp_path, kind))


def test_nan_and_inf_are_filled_with_a_real_value(tmp_path):
    image, _ = anatomy()
    found = real(read_image(spoiled(tmp_path, "nan"), fill_nan=-5.0))
    np.testing.assert_allclose(found[[1, 0], [2, 0], [3, 0]], -5, atol=1e-2)
    assert np.isfinite(found).all() and abs(found[5, 5, 5] - image[5, 5, 5]) < 1e-2


def test_image_and_label_must_lie_on_one_grid(tmp_path):
    image, label = anatomy()
    scan = save(tmp_path / "a.nii.gz", image)
    short = save(tmp_path / "short.nii.gz", label[:-1], oriented("RAS"))
    moved = save(tmp_path / "moved.nii.gz", label, oriented("RAS") + np.eye(4, k=3))
    with pytest.raises(BadInput, match=r"shape \(17, 24, 9\).*a.nii.gz, \(18, 24, 9\)"):
        read_pair(scan, short)
    with pytest.raises(
        BadInput, match=r"moved.nii.gz: its affine differs.*a.nii.gz by up to 1 mm at a corner"
    ):
        read_pair(scan, moved)
    close = save(tmp_path / "close.nii.gz", label, oriented("RAS") + 1e-5 * np.eye(4))
    found, mask = read_pair(scan, close)
    np.testing.assert_array_equal(mask, label)
    assert found.notes == ()


def test_an_image_and_a_label_that_are_swapped_are_refused(tmp_path):
    image, label = anatomy()
    image = image * np.int16(3) + (np.arange(image.size) % 3).astype(np.int16).reshape(image.shape)
    scan, mask = save(tmp_path / "a.nii", image), save(tmp_path / "m.nii", label)
    with pytest.raises(BadInput, match="a.nii: has .* values, and its image .*m.nii 3: they seem"):
        read_pair(mask, scan)
    np.testing.assert_array_equal(read_pair(scan, mask)[1], label)
    codes = save(tmp_path / "codes.nii", label.astype(np.int16) * 1007)
    assert read_pair(scan, codes)[1].max() == 2014


def test_a_case_is_its_files_name():
    assert case_stem(Path("x/a.b_0000.nii.gz")) == "a.b_0000" and case_stem(Path("y.nii")) == "y"
