"""A mask of each structure in a folder a patient: overlapping, empty or missing, as the files
say."""

import json

import nibabel as nib
import numpy as np
import pytest

from jaxmeta.data.cases import find_cases
from jaxmeta.data.grid import from_slices, sliced_shape
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import holders, open_shards
from jaxmeta.errors import BadInput
from tests.helpers.scans import SHAPE, anatomy, contents, save, touch


def boxed(*box, value=1):
    """Make a mask of a box."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[tuple(slice(*ends) for ends in box)] = value
    return mask


# patient -> structure -> mask: liver and lesion overlap, p2 has no spleen, p3's is not labelled
MASKS = {
    "p1": {
        "liver": boxed((2, 9), (3, 12), (1, 6)),
        "liver_lesion": boxed((4, 6), (5, 8), (2, 4), value=255),
        "spleen": boxed((11, 15), (3, 8), (2, 5)),
    },
    "p2": {"liver": boxed((2, 8), (3, 12), (2, 6)), "spleen": boxed()[:] * 0},
    "p3": {"liver": boxed((3, 9), (4, 12), (1, 5))},
}


def cohort(folder, image="ct", inner="segmentations/", suffix=""):
    """Write the patients, as TotalSegmentator lays them out or with the masks beside."""
    for number, (patient, masks) in enumerate(MASKS.items()):
        save(folder / patient / f"{image}.nii.gz", anatomy(seed=number)[0])
        for structure, mask in masks.items():
            save(folder / patient / f"{inner}{structure}{suffix}.nii.gz", mask)
    return folder


@pytest.mark.parametrize(
    ("image", "inner", "suffix"),
    [
        ("ct", "segmentations/", ""),
        ("mri", "masks/", "_seg"),
        ("image", "labels/", ""),
        ("ct", "", "_mask"),
        ("mri", "", ""),
        ("image", "", ""),
    ],
)
def test_each_patients_folder_is_a_case_of_its_structures(tmp_path, image, inner, suffix):
    folder = cohort(tmp_path / "abdomen", image, inner, suffix)
    told = {"modality": ["ct"]} if image == "image" else {}
    cases, alone, notes = find_cases([folder], **told)
    assert (alone, notes) == ([], [])
    assert [(case.name, case.patient) for case in cases] == [
        (f"abdomen/{patient}",) * 2 for patient in MASKS
    ]
    assert {case.modality for case in cases} == {"mr" if image == "mri" else "ct"}
    for case in cases:
        masks = MASKS[case.name.split("/")[1]]
        assert case.image.name == f"{image}.nii.gz"
        assert {name: file.name for name, file in case.files.items()} == {
            name: f"{name}{suffix}.nii.gz" for name in masks
        }
    one = find_cases([folder / "p1"], **told)[0] if inner else []
    assert [case.name for case in one] == ["p1/p1"] * bool(inner)  # the folder of one patient


def test_overlaps_stay_and_an_empty_mask_is_not_a_missing_one(tmp_path):
    summary = prepare([cohort(tmp_path / "in")], tmp_path / "out", modality=["ct"], workers=1)
    assert summary.datasets["in"].structures == {"liver": 3, "liver_lesion": 1, "spleen": 1}
    shards = open_shards([tmp_path / "out"])
    for number, volume in enumerate(shards.volumes):
        masks = MASKS[volume.patient.split("/")[1]]
        assert volume.counts.keys() == masks.keys()
        for structure, mask in masks.items():
            total = range(sliced_shape(volume.grid)[0])
            found = from_slices(load_masks(shards, number, total, structure), volume.grid)
            np.testing.assert_array_equal(found, mask > 0)
        image = nib.load(tmp_path / "in" / volume.patient.split("/")[1] / "ct.nii.gz")
        assert load_images(shards, number, [0], size=8).std() > 0 and image.shape == SHAPE
    assert not any(shards.volumes[1].counts["spleen"])  # looked for, and not there
    assert set(holders(shards, "spleen")) == {"in/p1"}


def test_every_mask_is_part_of_what_a_part_is_made_of(tmp_path):
    folder = cohort(tmp_path / "in")
    prepare([folder], tmp_path / "out", modality=["ct"], workers=1)
    before = contents(tmp_path / "out")
    assert prepare([folder], tmp_path / "out", modality=["ct"], workers=1).reused == 3
    save(folder / "p1/segmentations/spleen.nii.gz", boxed((11, 14), (3, 8), (2, 5)))
    prepare([folder], tmp_path / "out", modality=["ct"], workers=1)
    assert contents(tmp_path / "out") != before
    spleen = open_shards([tmp_path / "out"]).volumes[0].counts["spleen"]
    assert spleen.sum() == 3 * 5 * 3


def test_a_label_map_among_masks_is_refused(tmp_path):
    folder = cohort(tmp_path / "in")
    save(folder / "p1/segmentations/vessels.nii.gz", anatomy()[1])
    with pytest.raises(
        BadInput, match="vessels.nii.gz: holds values 1, 2, but a file of one structure"
    ):
        prepare([folder], tmp_path / "out", modality=["ct"], workers=1)


def test_patients_without_an_image_or_without_masks_are_listed(tmp_path):
    folder = touch(tmp_path / "d", "a/ct.nii.gz", "a/segmentations/liver.nii.gz")
    touch(folder, "b/ct.nii.gz", "b/mri.nii.gz", "b/segmentations/liver.nii.gz")
    touch(folder, "c/segmentations/liver.nii.gz")
    cases, alone, _ = find_cases([folder], modality=["ct"])
    assert [case.name for case in cases] == ["d/a"]
    assert [one.case for one in alone] == ["d/b", "d/c"]
    assert "several images (ct.nii.gz, mri.nii.gz)" in alone[0][1]
    assert "masks without an image" in alone[1][1]
    twice = touch(tmp_path / "e", "a/ct.nii.gz", "a/liver.nii.gz", "a/liver_mask.nii.gz")
    with pytest.raises(BadInput, match="liver.nii.gz and .*liver_mask.nii.gz are both of liver"):
        find_cases([twice], modality=["ct"])


@pytest.mark.parametrize("name", ["T1", "t2w", "flair", "t1_ce", "ADC"])
def test_a_second_image_is_no_structure_of_its_contrasts_name(tmp_path, name):
    folder = touch(tmp_path / "d", *(f"{p}/{f}.nii.gz" for p in "ab" for f in ("image", name)))
    with pytest.raises(
        BadInput, match="no image with a label found; there are a/.*say which belong"
    ):
        find_cases([folder], modality=["mr"])
    touch(folder, "a/liver.nii.gz", "b/liver.nii.gz", "c/image.nii.gz", "c/liver.nii.gz")
    cases, alone, _ = find_cases([folder], modality=["mr"])
    assert [(case.name, [*case.files]) for case in cases] == [("d/c", ["liver"])]
    assert [one.case for one in alone] == ["d/a", "d/b"]
    assert f"several images (image.nii.gz, {name}.nii.gz); keep one, or say" in alone[0][1]


def test_an_image_of_any_name_among_masks_is_told_to_be_one(tmp_path):
    folder = cohort(tmp_path / "in", "image", "")
    values = np.arange(np.prod(SHAPE)).reshape(SHAPE).astype(np.int16)
    save(folder / "p1/image.nii.gz", values[::-1])
    save(folder / "p1/later.nii.gz", values)
    with pytest.raises(BadInput, match='later.nii.gz: holds 3887 values, as an image .*"later"'):
        prepare([folder], tmp_path / "out", modality=["ct"], workers=1)


@pytest.mark.parametrize(
    "files",
    [
        ("a/image.nii", "a/label.nii"),
        ("a/ct.nii", "a/ct_seg.nii"),
        ("a.nii", "labels/a.nii"),
        ("images/a.nii", "labels/a.nii"),
        ("images/a.nii", "labels/a_seg.nii"),
    ],
)
def test_a_label_map_beside_its_image_is_no_file_of_a_structure(tmp_path, files):
    (case,), _, _ = find_cases([touch(tmp_path / "d", *files)], modality=["ct"])
    assert case.files is None and case.image.name == files[0].split("/")[-1]
    assert case.label.name == files[1].split("/")[-1]


@pytest.mark.slow
def test_a_real_scans_label_split_into_files_is_the_same_data(scans, tmp_path):
    """Structure for structure and slice for slice, from the label map or from a file for each."""
    source = scans / "CHAOS_T2SPIR"
    names = json.loads((source / "dataset.json").read_text())["labels"]
    whole = find_cases([source])[0]
    for case in whole[:3]:
        place = tmp_path / "chaos" / case.name.split("/")[1]
        label = nib.load(case.label)
        values = np.asarray(label.dataobj)
        (place / "segmentations").mkdir(parents=True)
        (place / "mri.nii.gz").symlink_to(case.image.resolve())
        for value, name in names.items():
            if int(value):
                mask = nib.Nifti1Image((values == int(value)).astype(np.uint8), label.affine)
                nib.save(mask, place / f"segmentations/{name}.nii.gz")
    prepare([source], tmp_path / "one", workers=1)
    prepare([tmp_path / "chaos"], tmp_path / "two", modality=["mr"], workers=1)
    one, two = (open_shards([tmp_path / name]) for name in ("one", "two"))
    assert len(two.volumes) == 3
    for number, volume in enumerate(two.volumes):
        other = one.volumes[number]
        assert other.name.split("/")[1] == volume.name.split("/")[1]
        assert volume.counts.keys() == other.counts.keys()
        for structure, count in volume.counts.items():
            np.testing.assert_array_equal(count, other.counts[structure])
            slices = range(len(count))
            np.testing.assert_array_equal(
                load_masks(two, number, slices, structure),
                load_masks(one, number, slices, structure),
            )
