"""Files that are not read are named, with what to do; endings count in any case."""

import nibabel as nib
import numpy as np
import pytest

from jaxmeta.data.cases import find_cases
from jaxmeta.data.formats.formats import case_stem
from jaxmeta.data.formats.image import read_image
from jaxmeta.data.formats.nifti import save_mask
from jaxmeta.data.formats.unread import conversion, other_formats, told_others
from jaxmeta.data.grid import Grid
from jaxmeta.errors import BadInput
from jaxmeta.inference.support import parsed
from tests.helpers.scans import anatomy, save, touch

TOOLS = {
    "a.nrrd": "SimpleITK",
    "a.NHDR": "SimpleITK",
    "a.mha": "SimpleITK",
    "a.mhd": "SimpleITK",
    "a.mgz": "nib-convert",
    "a.img": "nib-convert",
    "a.hdr": "nib-convert",
    "a.dcm": "dcm2niix",
    "a.IMA": "dcm2niix",
}


@pytest.mark.parametrize("name", TOOLS)
def test_a_folder_of_another_format_alone_is_told_of_it_and_of_no_layout(tmp_path, name):
    folder = touch(tmp_path / "d", name, f"deep/deeper/b{name}", f"c{name}", f"d{name}")
    with pytest.raises(BadInput) as caught:
        find_cases([folder], modality=["mr"])
    said = str(caught.value)
    assert f"4 {'DICOM' if TOOLS[name] == 'dcm2niix' else name[1:].lower()} files not read" in said
    assert f"{name}, c{name}, d{name} and 1 more" in said and TOOLS[name] in said
    assert "images/" not in said and "\n" not in said


@pytest.mark.parametrize("name", TOOLS)
def test_beside_usable_cases_it_is_a_note(tmp_path, name):
    folder = touch(tmp_path / "d", "a.nii.gz", "a_seg.nii.gz", f"x{name}")
    cases, alone, notes = find_cases([folder], modality=["mr"])
    assert len(cases) == 1 and not alone
    assert len(notes) == 1 and f"(x{name})" in notes[0] and TOOLS[name] in notes[0]


def test_dicom_is_known_by_its_mark_whatever_its_name(tmp_path):
    folder = touch(tmp_path / "d", "README", "study/notes.txt")
    for name in ("IM0001", "IM0002", "1.2.840.113"):
        (folder / "study" / name).write_bytes(bytes(128) + b"DICM" + bytes(9))
    (others,) = other_formats(folder)
    assert [file.name for file in others.files] == ["1.2.840.113", "IM0001", "IM0002"]
    assert "3 DICOM files" in told_others([others], folder)[0]
    assert "dcm2niix" in conversion(folder / "study/IM0001")
    assert "must end in .nii" in conversion(folder / "README")


def test_a_header_and_its_voxels_are_one(tmp_path):
    folder = touch(tmp_path / "d", "a.hdr", "a.img", "b.hdr", "b.img.gz")
    assert [len(each.files) for each in other_formats(folder)] == [2]


@pytest.mark.parametrize("ending", [".NII.GZ", ".Nii.gz", ".NII", ".nii.GZ"])
def test_endings_of_nifti_count_in_any_case(tmp_path, ending):
    image, label = anatomy()
    plain = ".nii.gz" if ending.lower().endswith("gz") else ".nii"
    for name, array in (("a", image), ("a_seg", label)):
        save(tmp_path / f"{name}{plain}", array).rename(tmp_path / f"{name}{ending}")
    (case,), alone, notes = find_cases([tmp_path], modality=["mr"])
    assert (case.image.name, alone, notes) == (f"a{ending}", [], [])
    assert case_stem(case.image) == "a" and case.name.endswith("/a")
    found = read_image(case.image)
    np.testing.assert_array_equal(found.values, image)
    text = f"{tmp_path}/a{ending}:{tmp_path}/a_seg{ending}:2"
    assert parsed(text) == (tmp_path / f"a{ending}", tmp_path / f"a_seg{ending}", 2)
    mask = tmp_path / f"m{ending}"
    save_mask(mask, label, Grid(label.shape, found.affine, found.header, "axial"))
    mask = mask.rename(tmp_path / f"m{plain}")
    np.testing.assert_array_equal(np.asarray(nib.load(mask).dataobj), label)


def test_nifti_that_lies_deep_is_seen(tmp_path):
    folder = touch(tmp_path / "d", "a/b/c/d/x.nii.gz", "a/y.nrrd")
    with pytest.raises(BadInput, match="there is a/b/c/d/x.nii.gz; say"):
        find_cases([folder], modality=["mr"])


def test_labels_of_another_format_are_told_where_images_have_none(tmp_path):
    folder = touch(tmp_path / "d", "a.nii.gz", "a.seg.nrrd", "b.nii.gz", "b.seg.nrrd")
    with pytest.raises(
        BadInput, match="no image with a label .*2 .nrrd files not read .*SimpleITK"
    ):
        find_cases([folder], modality=["mr"])
    touch(folder, "c.nii.gz", "c_seg.nii.gz")
    alone = find_cases([folder], modality=["mr"])[1]
    assert len(alone) == 2 and all("no label" in one.why and ".nrrd" in one.why for one in alone)
