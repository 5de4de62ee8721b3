"""Every layout is found, and what is not declared is asked for, never guessed."""

import json

import pytest

from jaxmeta.data.cases import find_cases
from jaxmeta.data.names import slug
from jaxmeta.errors import BadInput
from tests.helpers.scans import anatomy, decathlon, save, touch


def pairs(folder, **told):
    """Find cases as (name, patient, image's name, label's name)."""
    cases, alone, _ = find_cases([folder], **({"modality": ["mr"]} | told))
    assert not alone
    return [(case.name, case.patient, case.image.name, case.label.name) for case in cases]


def test_slugs():
    assert slug("Left Kidney") == "left_kidney" and slug(" T2*-cord ") == "t2_cord"


def test_decathlon_names_modality_structures_and_ignores_macs_files(tmp_path):
    folder = decathlon(tmp_path / "Belly", 3, names=("Liver", "left kidney"), modality="CT")
    touch(folder, "imagesTr/._case0.nii.gz", "labelsTr/._case0.nii.gz")
    cases, alone, notes = find_cases([folder])
    assert (alone, notes) == ([], [])
    assert [case.name for case in cases] == ["belly/case0", "belly/case1", "belly/case2"]
    assert {case.modality for case in cases} == {"ct"}
    assert cases[0].names == {"liver": (1,), "left_kidney": (2,)}


def test_two_frames_are_one_patient_unless_a_pattern_says_otherwise(tmp_path):
    cases = {f"patient{p}_frame0{f}": anatomy(seed=p) for p in (1, 2) for f in (1, 2)}
    folder = decathlon(tmp_path / "heart", cases)
    assert [p for _, p, _, _ in pairs(folder, modality=[])] == ["heart/patient1"] * 2 + [
        "heart/patient2"
    ] * 2
    told = pairs(folder, modality=[], patient_pattern=r"frame(\d+)")
    assert [p for _, p, _, _ in told] == ["heart/01", "heart/02"] * 2
    with pytest.raises(BadInput, match="found in some cases but not in patient2_frame01"):
        pairs(folder, modality=[], patient_pattern="(patient1)")
    with pytest.raises(BadInput, match="found in no case"):
        pairs(folder, modality=[], patient_pattern="subject")
    with pytest.raises(BadInput, match="not a regular expression"):
        pairs(folder, modality=[], patient_pattern="(")


def test_decathlon_lists_what_is_missing_and_notes_what_is_unlisted(tmp_path):
    folder = decathlon(tmp_path / "belly", 3)
    (folder / "labelsTr/case1.nii.gz").unlink()
    touch(folder, "imagesTr/extra.nii.gz", "labelsTr/extra.nii.gz")
    cases, alone, notes = find_cases([folder])
    assert len(cases) == 2 and len(alone) == 1
    assert alone[0][0] == "belly/case1" and "labelsTr/case1.nii.gz" in alone[0][1]
    assert len(notes) == 2 and "extra" in notes[0]


def test_nnunet_reads_reversed_labels_regions_and_channels(tmp_path):
    about = {
        "channel_names": {"0": "CT", "1": "T2"},
        "labels": {"background": 0, "whole tumour": [1, 2], "core": 2},
        "numTraining": 1,
        "file_ending": ".nii.gz",
    }
    folder = touch(tmp_path / "Dataset001_X", "imagesTr/a_0000.nii.gz", "imagesTr/a_0001.nii.gz")
    touch(folder, "labelsTr/a.nii.gz", "imagesTr/._a_0000.nii.gz")
    (folder / "dataset.json").write_text(json.dumps(about))
    cases, alone, _ = find_cases([folder])
    assert not alone and [case.name for case in cases] == [
        "dataset001_x/a_0000",
        "dataset001_x/a_0001",
    ]
    assert [case.modality for case in cases] == ["ct", "mr"]
    assert {case.patient for case in cases} == {"dataset001_x/a"}
    assert cases[0].names == {"whole_tumour": (1, 2), "core": (2,)}
    touch(folder, "imagesTr/b_0000.nii.gz")
    (folder / "imagesTr/a_0001.nii.gz").unlink()
    alone = find_cases([folder])[1]
    assert [one.case for one in alone] == ["dataset001_x/a", "dataset001_x/b_0000"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"file_ending": ".png"}, "not NIfTI"),
        ({"labels": {"background": 0, "a": 1, "ignore": 2}}, "ignore label"),
    ],
)
def test_nnunet_data_that_cannot_be_read_is_refused(tmp_path, change, message):
    folder = touch(tmp_path / "d", "imagesTr/a_0000.nii.gz", "labelsTr/a.nii.gz")
    about = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "a": 1}} | change
    (folder / "dataset.json").write_text(json.dumps(about))
    with pytest.raises(BadInput, match=message):
        find_cases([folder])


@pytest.mark.parametrize(("here", "there"), [("images", "labels"), ("imagesTr", "labelsTr")])
def test_two_folders_pair_by_name(tmp_path, here, there):
    folder = touch(tmp_path / "d", f"{here}/a.nii.gz", f"{there}/a.nii.gz", f"{here}/b.nii")
    touch(folder, f"{there}/b_seg.nii.gz", f"{here}/c_0000.nii.gz", f"{there}/c.nii.gz")
    touch(folder, f"{here}/._a.nii.gz", f"{there}/notes.txt")
    assert pairs(folder) == [
        ("d/a", "d/a", "a.nii.gz", "a.nii.gz"),
        ("d/b", "d/b", "b.nii", "b_seg.nii.gz"),
        ("d/c", "d/c", "c_0000.nii.gz", "c.nii.gz"),
    ]


def test_suffixes_pair_in_one_folder(tmp_path):
    names = ["t2.nii.gz", "t2_seg-manual.nii.gz", "t2s.nii.gz", "t2s_gmseg_manual.nii.gz"]
    folder = touch(tmp_path / "Spine", *names, "spleen_2_ct.nii.gz", "spleen_2_label.nii.gz")
    assert [(image, label) for _, _, image, label in pairs(folder)] == [
        ("spleen_2_ct.nii.gz", "spleen_2_label.nii.gz"),
        ("t2.nii.gz", "t2_seg-manual.nii.gz"),
        ("t2s.nii.gz", "t2s_gmseg_manual.nii.gz"),
    ]


def test_a_suffix_of_ones_own_chooses_among_several_labels(tmp_path):
    folder = touch(tmp_path / "d", "a.nii.gz", "a_seg.nii.gz", "a_mask.nii.gz", "a-truth.nii.gz")
    with pytest.raises(BadInput, match="a has several labels; choose with `pair_suffix`"):
        pairs(touch(folder))
    (folder / "a-truth.nii.gz").unlink()
    assert pairs(folder, pair_suffix="_mask") == [("d/a", "d/a", "a.nii.gz", "a_mask.nii.gz")]


def test_lone_files_are_listed_with_their_names(tmp_path):
    folder = touch(tmp_path / "d", "a.nii.gz", "a_seg.nii.gz", "b.nii.gz", "c_seg.nii.gz")
    cases, alone, _ = find_cases([folder], modality=["mr"])
    assert len(cases) == 1 and [one.case for one in alone] == ["d/b", "d/c"]
    assert "b.nii.gz: no label" in alone[0][1] and "c_seg.nii.gz: no image" in alone[1][1]
    both = touch(tmp_path / "e", "images/a.nii.gz", "labels/b.nii.gz", "images/c.nii.gz")
    touch(both, "labels/c.nii.gz")
    alone = find_cases([both], modality=["mr"])[1]
    assert [one.case for one in alone] == ["e/a", "e/b"]


def test_an_undeclared_modality_is_asked_for(tmp_path):
    folder = touch(tmp_path / "d", "ct_a.nii.gz", "ct_a_seg.nii.gz", "b.nii.gz", "b_seg.nii.gz")
    with pytest.raises(BadInput, match="no file declares its modality; give `modality=ct` or"):
        find_cases([folder])
    with pytest.raises(BadInput, match="b.nii.gz: no file declares"):
        find_cases([folder], modality=["ct_*=ct"])
    cases, _, _ = find_cases([folder], modality=["mr", "ct_*=ct"])
    assert {case.name: case.modality for case in cases} == {"d/b": "mr", "d/ct_a": "ct"}


def test_words_that_apply_to_nothing_are_mistakes(tmp_path):
    folder = decathlon(tmp_path / "belly", 1)
    for told, message in [
        ({"modality": ["ct"]}, "say what they are"),
        ({"modality": ["xct_*=ct"]}, "no file matches xct_"),
        ({"modality": ["xray"]}, "must be ct or mr"),
        ({"modality": ["ct", "mr"]}, "one bare word"),
        ({"labels": ["1=cord"]}, "say what they are"),
        ({"labels": ["q*:1=cord"]}, "no file matches"),
        ({"labels": ["cord"]}, "must be VALUE=NAME"),
        ({"labels": ["0=cord"]}, "values from 1"),
        ({"pair_suffix": "_seg"}, "cannot apply"),
        ({"pairs": ["{id}", "{id}_seg"]}, "a dataset.json names the pairs"),
    ]:
        with pytest.raises(BadInput, match=message):
            find_cases([folder], **told)
    assert find_cases([folder], modality=["mr"])[0][0].modality == "mr"
    assert find_cases([folder], modality=["belly/*=ct"])[0][0].modality == "ct"
    named = find_cases([folder], labels=["case0*:2=cord"])[0][0].names
    assert named == {"cord": (2,)}


def test_a_bare_name_is_not_given_to_another_kind_of_label(tmp_path):
    """Value 1 is the cord in _seg and the grey matter in _gmseg."""
    folder = touch(tmp_path / "s", "t2.nii", "t2_seg.nii", "t2s.nii", "t2s_gmseg.nii")
    cases, _, _ = find_cases([folder], modality=["mr"], labels=["1=cord"])
    assert [case.names for case in cases] == [{"cord": (1,)}, None]
    assert cases[1].prefix == "s_gm_label_"
    told = ["1=cord", "*gmseg*:1=Grey Matter"]
    cases, _, _ = find_cases([folder], modality=["mr"], labels=told)
    assert [case.names for case in cases] == [{"cord": (1,)}, {"grey_matter": (1,)}]


def test_nameless_values_are_not_the_same_organ_everywhere(tmp_path):
    folder = touch(tmp_path / "d", "ct_a.nii", "ct_a_seg.nii", "b.nii", "b_seg.nii")
    cases, _, _ = find_cases([folder], modality=["mr", "ct_*=ct"])
    assert [case.prefix for case in cases] == ["d_mr_label_", "d_ct_label_"]


def test_folders_that_hold_nothing_are_refused(tmp_path):
    with pytest.raises(BadInput, match="no such folder"):
        find_cases([tmp_path / "nowhere"])
    with pytest.raises(BadInput, match="no image with a label found"):
        find_cases([touch(tmp_path / "d", "a.nii.gz", "readme.txt")])
    with pytest.raises(BadInput, match="not JSON"):
        (tmp_path / "d/dataset.json").write_text("{")
        find_cases([tmp_path / "d"])
    image, label = anatomy()
    for name in ("e", "f/e"):
        save(tmp_path / name / "a.nii", image)
        save(tmp_path / name / "a_seg.nii", label)
    with pytest.raises(BadInput, match="are both called e/a"):
        find_cases([tmp_path / "e", tmp_path / "f/e"], modality=["mr"])
