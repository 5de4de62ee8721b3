"""One's own files are read as `prepare_data` reads them, and what is odd about them is said."""

import nibabel as nib
import numpy as np
import pytest

from jaxmeta.errors import BadInput
from jaxmeta.inference.predict import Options, outputs
from jaxmeta.inference.run_reading import teller
from jaxmeta.inference.scan import Reading, check_rescale, read_scan, seen
from jaxmeta.inference.support import parsed, read_support
from jaxmeta.runs.config import Config
from tests.helpers.scans import SHAPE, anatomy, oriented, save, touch

CT = Reading(16, None, "axial", "ct")


def trunk():
    """Draw a CT in HU and its label."""
    image, label = anatomy()
    hu = np.where(np.arange(SHAPE[0])[:, None, None] < 6, -1000, image.astype(int) - 60)
    return hu.astype(np.int16), label


def shown(path, reading):
    """Read a file as a network sees all of it."""
    return seen(read_scan(path, reading), reading)


def test_a_ct_in_other_units_is_refused_and_rescaled_it_is_seen_as_in_hu(tmp_path):
    hu, label = trunk()
    right, wrong = save(tmp_path / "a.nii.gz", hu), save(tmp_path / "b.nii.gz", hu + 1024)
    mask = save(tmp_path / "m.nii.gz", label)
    with pytest.raises(
        BadInput, match="b.nii.gz: is not in HU, .*`rescale=1,-1024` .*`modality=mr`"
    ):
        read_scan(wrong, CT)
    with pytest.raises(BadInput, match="b.nii.gz: is not in HU"):
        read_support([parsed(f"{wrong}:{mask}:1")], CT)
    told = CT._replace(rescale=("b*=1,-1024",))
    np.testing.assert_allclose(shown(wrong, told), shown(right, told), atol=1e-4)
    one, other = (read_support([parsed(f"{f}:{mask}:1")], told) for f in (wrong, right))
    np.testing.assert_allclose(one.examples.image, other.examples.image, atol=1e-4)
    bare = CT._replace(rescale=("1,-1024",))
    np.testing.assert_allclose(shown(wrong, bare), shown(right, CT), atol=1e-4)
    assert shown(wrong, CT._replace(modality="mr")).std() > 0.5


def test_a_file_without_air_that_is_taken_for_ct_is_told(tmp_path, capsys):
    """The numbers of MR may be those of a CT that was cut at 0: nobody can refuse it."""
    hu, _ = trunk()
    mr = save(tmp_path / "mr.nii.gz", hu.clip(0) * 6)
    others = (save(tmp_path / "ct.nii.gz", hu), {}), (mr, {"modality": "ct"})
    for (path, said), warned in (((mr, {}), True), *((other, False) for other in others)):
        tell = teller(tmp_path / "run", Config(modality="ct"), CT, **said)
        read_scan(path, CT._replace(tell=tell))
        told = "mr.nii.gz: no value is below 0, as in MR" in capsys.readouterr().err
        assert told == warned


def test_a_rescale_that_applies_to_nothing_is_refused(tmp_path):
    scan = save(tmp_path / "a.nii.gz", trunk()[0])
    check_rescale([scan], CT._replace(rescale=("a*=1,0",)))
    with pytest.raises(BadInput, match="`rescale=b.*=1,0`: no file matches b"):
        check_rescale([scan], CT._replace(rescale=("b*=1,0",)))
    with pytest.raises(BadInput, match="`rescale=1,0`: it is for CT, and these are read as mr"):
        check_rescale([scan], CT._replace(rescale=("1,0",), modality="mr"))


def test_what_is_odd_about_a_file_is_printed(tmp_path, capsys):
    hu, label = trunk()
    affine, turned = oriented("RAS"), oriented("RAS")
    turned[0, 3] += 0.3
    scan = save(tmp_path / "a.nii.gz", hu, affine)
    mask = save(tmp_path / "m.nii.gz", label, turned)
    read_scan(scan, CT)
    assert capsys.readouterr().out == ""
    for tell in (True, False):
        read_support([parsed(f"{scan}:{mask}:1")], CT, tell=tell)
        assert (f"note: {mask}: its affine differs" in capsys.readouterr().out) == tell
    volume = nib.Nifti1Image(hu, affine)
    volume.set_qform(turned + np.eye(4, k=3), code=1)
    volume.set_sform(affine, code=1)
    nib.save(volume, tmp_path / "q.nii.gz")
    read_scan(tmp_path / "q.nii.gz", CT)
    assert "q.nii.gz: its qform and sform place voxels up to" in capsys.readouterr().out


def test_masks_are_named_like_images_of_any_ending_and_other_formats_are_told(tmp_path):
    images = ("a.NII.GZ", "b.Nii", "c.nii.gz")
    folder = touch(tmp_path, *images, "d.nrrd", "e")
    given = dict(run=tmp_path, output=tmp_path / "out")
    masks = outputs(Options(image=tuple(folder / name for name in images), **given), [])
    assert [mask.name for mask in masks] == ["a.nii.gz", "b.nii.gz", "c.nii.gz"]
    with pytest.raises(
        BadInput, match="d.nrrd: not a NIfTI file; convert to NIfTI first: SimpleITK"
    ):
        outputs(Options(image=(folder / "d.nrrd",), **given), [])
    with pytest.raises(BadInput, match="e: not a NIfTI file; its name must end in .nii or .nii.gz"):
        outputs(Options(image=(folder / "e",), **given), [])
