"""Files agree or not by the mm that their voxels lie apart, whatever an affine's entries say."""

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from jaxmeta.data.formats.image import read_image, read_pair
from jaxmeta.data.formats.nifti import save_mask
from jaxmeta.data.grid import Grid, spacing
from jaxmeta.data.placement import Note, agreement, displacement, told_notes
from jaxmeta.errors import BadInput
from tests.helpers.scans import SHAPE, anatomy, oriented, save

UNITS = {"meter": 1e-3, "mm": 1.0, "micron": 1e3, "unknown": 1.0}


def turned(affine, degrees, shape=SHAPE, axis="z"):
    """Turn a volume about its middle."""
    middle = affine @ np.array([*(np.array(shape) - 1) / 2, 1])
    turn, back = np.eye(4), np.eye(4)
    turn[:3, :3] = Rotation.from_euler(axis, degrees, degrees=True).as_matrix()
    back[:3, 3] = middle[:3]
    return back @ turn @ np.linalg.inv(back) @ affine


@given(
    st.integers(0, 10**6),
    st.floats(-3, 0.5).map(lambda power: 10**power),
    st.sampled_from(["RAS", "PSR", "LPI"]),
    st.booleans(),
)
def test_what_is_decided_depends_on_the_farthest_voxel_alone(seed, share, codes, shifted):
    """A turn, a shear or a shift that moves some corner by as many mm is judged the same."""
    rng = np.random.default_rng(seed)
    shape = tuple(map(int, rng.integers(2, 30, 3)))
    zooms = rng.uniform(0.3, 9, 3)
    affine = oriented(codes, shape, zooms)
    change = np.zeros((4, 4))
    change[:3, 3 if shifted else slice(4)] = rng.normal(size=(3,) if shifted else (3, 4))
    wanted = share * zooms.min()  # mm
    change *= wanted / displacement(affine, affine + change, shape)
    every = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)
    apart = nib.affines.apply_affine(affine, every) - nib.affines.apply_affine(
        affine + change, every
    )
    farthest = np.linalg.norm(apart, axis=-1).max()
    np.testing.assert_allclose(farthest, wanted, rtol=1e-6)
    np.testing.assert_allclose(displacement(affine, affine + change, shape), wanted, rtol=1e-6)
    if min(abs(share - 0.01), abs(share - 0.5)) > 1e-6:
        want = "same" if share < 0.01 else "told" if share < 0.5 else "refused"
        assert agreement(displacement(affine, affine + change, shape), affine) == want


def test_a_label_turned_by_little_is_told_and_by_half_a_voxel_refused(tmp_path):
    """The corners of 180 voxels of 1.5 mm lie 190 mm from the middle: .175 degrees move them .58
    mm."""
    shape = (180, 180, 4)
    image, label = np.arange(np.prod(shape), dtype=np.int32).reshape(shape), np.ones(shape, "u1")
    affine = oriented("LPS", shape, (1.5, 1.5, 5.0))
    scan = save(tmp_path / "a.nii", image, affine)
    little, much, none = (
        save(tmp_path / f"{name}.nii", label, turned(affine, degrees, shape))
        for name, degrees in (("little", 0.175), ("much", 0.3), ("none", 0.001))
    )
    (note,) = read_pair(scan, little)[0].notes
    corner = 1.5 * 179 / 2 * np.sqrt(2)
    assert f"up to {2 * corner * np.sin(np.radians(0.175) / 2):.3g} mm at a corner" in note.text
    assert "0.58 mm" in note.text and str(little) in note.text and note.kind == "label"
    assert read_pair(scan, none)[0].notes == ()
    with pytest.raises(
        BadInput, match="much.nii: its affine differs .* 0.994 mm at a corner, half"
    ):
        read_pair(scan, much)


def united(path, array, affine, unit):
    """Save a volume that counts in a unit."""
    affine = np.diag([UNITS[unit]] * 3 + [1]) @ affine
    volume = nib.Nifti1Image(array, affine)
    volume.header.set_xyzt_units(unit, "sec")
    volume.set_qform(affine, code=1)
    volume.set_sform(affine, code=2)
    nib.save(volume, path)
    return path


@pytest.mark.parametrize("unit", UNITS)
def test_every_unit_is_read_as_mm_and_the_way_back_is_in_the_files_own(tmp_path, unit):
    image, label = anatomy()
    affine = oriented("PSR")
    path = united(tmp_path / "a.nii.gz", image, affine, unit)
    found = read_image(path)
    np.testing.assert_allclose(found.affine, affine, rtol=1e-5, atol=1e-5)
    grid = Grid(image.shape, found.affine, found.header, "axial")
    np.testing.assert_allclose(sorted(spacing(grid)), [1.25, 1.5, 4.0], rtol=1e-6)
    assert found.notes == ()
    save_mask(tmp_path / "m.nii.gz", label, grid)
    new, old = nib.load(tmp_path / "m.nii.gz"), nib.load(path)
    np.testing.assert_array_equal(np.asarray(new.dataobj), label)
    np.testing.assert_array_equal(new.affine, old.affine)
    for field in ("qform_code", "sform_code", "pixdim", "xyzt_units", "srow_x", "quatern_b"):
        np.testing.assert_array_equal(old.header[field], new.header[field], err_msg=field)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize(("voxels", "verdict"), [(0.002, "same"), (0.2, "told"), (0.5, "refused")])
def test_half_a_voxel_is_half_a_voxel_in_every_unit(tmp_path, unit, voxels, verdict):
    image, label = anatomy()
    shift = np.zeros((4, 4))
    shift[0, 3] = voxels * 1.25 + 1e-4
    scan = united(tmp_path / "a.nii.gz", image, oriented("RAS"), unit)
    mask = united(tmp_path / "m.nii.gz", label, oriented("RAS") + shift, "mm")
    if verdict == "refused":
        with pytest.raises(BadInput, match="m.nii.gz: its affine differs .* 0.625 mm at a corner"):
            read_pair(scan, mask)
    else:
        assert len(read_pair(scan, mask)[0].notes) == (verdict == "told")


def test_what_a_header_leaves_open_is_told(tmp_path):
    image, _ = anatomy()
    affine = oriented("RAS")
    two = nib.Nifti1Image(image, affine)
    two.set_qform(turned(affine, 3), code=1)
    two.set_sform(affine, code=4)
    nib.save(two, tmp_path / "two.nii")
    sheared = affine @ np.array([[1, 0, 0, 0], [0, 1, 0.3, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    save(tmp_path / "tilt.nii", image, sheared, codes=(0, 2))
    none = save(tmp_path / "none.nii", image, affine, codes=(0, 0))
    tiny = save(tmp_path / "tiny.nii", image, np.diag([1e-3, 1e-3, 1e-3, 1]) @ affine)
    for name, kind, said in (
        ("two", "qform", "qform and sform place voxels up to 1.01 mm apart; the sform is read"),
        ("tilt", "tilt", "its axes are 5.36 degrees off a right angle"),
        ("none", "orientation", "says nothing of orientation"),
        ("tiny", "units", "spans 0.036 mm"),
    ):
        (note,) = read_image(tmp_path / f"{name}.nii").notes
        assert note.kind == kind and said in note.text and f"{name}.nii" in note.text
    np.testing.assert_allclose(read_image(tmp_path / "two.nii").affine, affine)
    assert none.exists() and tiny.exists()


def test_of_many_notes_of_a_kind_three_are_told():
    notes = [Note("a", f"file {n} is odd") for n in range(5)] + [Note("b", "another")] * 2
    assert told_notes(notes) == [
        "file 0 is odd",
        "file 1 is odd",
        "file 2 is odd (and 2 files more like these)",
        "another",
    ]
