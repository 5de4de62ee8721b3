"""Scans that nobody labelled: left out or refused, unless somebody wants to learn from them."""

import json

import numpy as np
import pytest

from jaxmeta.data.cases import find_cases
from jaxmeta.data.shards.load import load_images
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import holders, open_shards
from jaxmeta.errors import BadInput
from jaxmeta.splits.labelled import labelled_split
from jaxmeta.splits.pool import unlabelled_scans
from tests.helpers.scans import anatomy, decathlon, save, touch


def listed(folder):
    decathlon(folder, 2)
    (folder / "labelsTr/case1.nii.gz").unlink()


def by_channels(folder):
    touch(folder, "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz", "imagesTr/b_0000.nii.gz")
    about = {"channel_names": {"0": "T2"}, "labels": {"background": 0, "liver": 1}}
    (folder / "dataset.json").write_text(json.dumps(about))


def two_folders(folder):
    touch(folder, "images/a.nii.gz", "labels/a.nii.gz", "images/b.nii.gz")


def suffixes(folder):
    touch(folder, "a.nii.gz", "a_seg.nii.gz", "b.nii.gz")


def bids(folder):
    touch(folder, *(f"{s}/anat/{s}_T1w.nii.gz" for s in ("sub-01", "sub-02")))
    touch(folder, "derivatives/hand/sub-01/anat/sub-01_dseg.nii.gz")


def structure_files(folder):
    touch(folder, "a/mri.nii.gz", "a/segmentations/liver.nii.gz", "b/mri.nii.gz")


LAYOUTS = [listed, by_channels, two_folders, suffixes, bids, structure_files]


@pytest.mark.parametrize("made", LAYOUTS)
def test_every_layout_tells_an_image_without_a_label(tmp_path, made):
    made(folder := tmp_path / "d")
    cases, alone, _ = find_cases([folder], modality=["*=mr"])
    assert len(cases) == len(alone) == 1 and cases[0].label
    both, none, _ = find_cases([folder], modality=["*=mr"], keep_unlabelled=True)
    assert len(both) == 2 and not none and [c for c in both if c.label] == cases
    (bare,) = (case for case in both if case.label is None)
    assert (bare.names, bare.modality, bare.dataset) == ({}, "mr", cases[0].dataset)
    assert bare.patient != cases[0].patient and bare.image != cases[0].image
    assert alone[0].case.removesuffix("_0000") in bare.name


def test_own_patterns_tell_it_too(tmp_path):
    folder = touch(tmp_path / "d", "scan-1.nii.gz", "truth-1.nii.gz", "scan-2.nii.gz")
    how = dict(modality=["mr"], pairs=["scan-{id}", "truth-{id}"])
    assert len(find_cases([folder], **how)[0]) == 1
    cases, alone, _ = find_cases([folder], keep_unlabelled=True, **how)
    assert [(case.name, bool(case.label)) for case in cases] == [("d/1", True), ("d/2", False)]


@pytest.mark.parametrize("made", [listed, by_channels])
def test_data_sets_give_images_to_be_tested_without_labels(tmp_path, made):
    made(folder := tmp_path / "d")
    touch(folder, "imagesTs/z_0000.nii.gz")
    about = json.loads((folder / "dataset.json").read_text())
    (folder / "dataset.json").write_text(json.dumps(about | {"test": ["./imagesTs/z_0000.nii.gz"]}))
    how = dict(modality=["*=mr"])
    assert len(find_cases([folder], **how)[0]) == 1
    cases, _, _ = find_cases([folder], keep_unlabelled=True, **how)
    assert [bool(case.label) for case in cases] == [True, False, False]
    assert "/z" in cases[-1].name and cases[-1].names == {}


@pytest.mark.parametrize(
    "files",
    [
        ("images/a_0000.nii.gz", "images/a_0001.nii.gz", "labels/a.nii.gz"),  # another channel
        ("images/a_0000.nii.gz", "images/b_0001.nii.gz", "labels/a.nii.gz"),
        ("a.nii.gz", "a_seg.nii.gz", "a_t2.nii.gz"),  # another sequence
        ("a.nii.gz", "a_seg.nii.gz", "a_rater2.nii.gz"),
        ("images/a.nii.gz", "labels/a.nii.gz", "images/mask_b.nii.gz"),
    ],
)
def test_what_may_be_a_label_or_of_the_labelled_is_nobody(tmp_path, files):
    folder = touch(tmp_path / "d", *files)
    cases, alone, _ = find_cases([folder], modality=["mr"], keep_unlabelled=True)
    assert [case.patient for case in cases] == ["d/a"] and len(alone) == 1


@pytest.mark.parametrize("files", [("p1_t1", "p1_t2", "p1_mask"), ("label_1", "label_2")])
def test_no_mask_is_a_scan_where_nothing_pairs(tmp_path, files):
    folder = touch(tmp_path / "d", *(f"{name}.nii.gz" for name in files))
    with pytest.raises(BadInput, match="no image with a label"):
        find_cases([folder], modality=["mr"], keep_unlabelled=True)


def test_a_label_without_an_image_is_no_scan(tmp_path):
    folder = touch(tmp_path / "d", "images/a.nii.gz", "labels/a.nii.gz", "labels/b.nii.gz")
    cases, alone, _ = find_cases([folder], modality=["mr"], keep_unlabelled=True)
    assert len(cases) == len(alone) == 1


def test_they_are_voxels_to_be_learned_from_and_have_no_structure(tmp_path):
    """A folder of images alone is another data set, and joins whatever organ is learned."""
    for name in ("labelled/a", "labelled/b", "labelled/c", "more/d", "more/e"):
        image, label = anatomy(seed=ord(name[-1]))
        save(tmp_path / f"{name}.nii.gz", image)
        if name.startswith("labelled") and name[-1] != "c":
            save(tmp_path / f"{name}_seg.nii.gz", label)
    folders = [tmp_path / "labelled", tmp_path / "more"]
    how = dict(size=16, modality=["mr"], labels=["1=liver"], workers=1)
    with pytest.raises(BadInput, match="c.nii.gz: no label.*`keep_unlabelled` keeps scans"):
        prepare(folders[:1], tmp_path / "shards", **how)
    with pytest.raises(BadInput, match="no image with a label"):
        prepare(folders[1:], tmp_path / "shards", **how)
    told = prepare(folders, tmp_path / "shards", keep_unlabelled=True, **how)
    assert [note for note in told.notes if "without a label" in note] == [
        "labelled: 1 scan without a label, for who learns from unlabelled ones",
        "more: 2 scans without a label, for who learns from unlabelled ones",
    ]
    assert not any("empty" in note for note in told.notes)
    shards = open_shards([tmp_path / "shards"])
    counts = {volume.name: dict(volume.counts) for volume in shards.volumes}
    assert [name for name in counts if not counts[name]] == ["labelled/c", "more/d", "more/e"]
    number = list(counts).index("more/d")
    images = load_images(shards, number, range(4), size=16)
    assert np.isfinite(images).all() and images.std() > 0
    assert sorted(holders(shards, "liver")) == ["labelled/a", "labelled/b"]
    how = dict(labelled=("1",), test_patients=("1",), seed=0)
    division = labelled_split(shards, "liver", **how)
    assert set(division.unlabelled) == {"labelled/c", "more/d", "more/e"}
    scans = [shards.volumes[number].name for number in unlabelled_scans(shards, division)]
    assert scans == ["labelled/c", "more/d", "more/e"]
