"""BIDS: labels in derivatives find their scans; of several kinds of anything the user chooses."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.data.cases import find_cases
from jaxmeta.data.layouts.bids import bids_parsed
from jaxmeta.data.shards.load import load_masks
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from tests.helpers.scans import anatomy, save, touch

TABLE = "index\tname\tcolor\n0\tbackground\t#0\n1\tLeft Kidney\t#f\n2\tLiver\t#e\n9\tSpleen\t#d\n"


def data_set(folder, *labels, contrasts=("T1w",), subjects=("sub-01", "sub-02")):
    """Make a data set by names alone; a label is PIPELINE/ENDING, and every subject has it."""
    folder.mkdir(parents=True, exist_ok=True)
    about = {"Name": "A sentence, of bellies.", "BIDSVersion": "1.10.0"}
    touch(folder, *(f"{s}/anat/{s}_{contrast}.nii.gz" for s in subjects for contrast in contrasts))
    (folder / "dataset_description.json").write_text(json.dumps(about))
    for label in labels:
        pipeline, ending = label.split("/")
        touch(
            folder / "derivatives" / pipeline, *(f"{s}/anat/{s}{ending}.nii.gz" for s in subjects)
        )
    return folder


def found(folder, **told):
    """Find (name, patient, image's name, label's name) of each case, of which none is alone."""
    cases, alone, _ = find_cases([folder], **told)
    assert not alone
    return [(case.name, case.patient, case.image.name, case.label.name) for case in cases]


def test_sessions_of_a_subject_are_one_patient(tmp_path):
    for stem in ("sub-01/ses-a/anat/sub-01_ses-a", "sub-01/ses-b/anat/sub-01_ses-b"):
        touch(tmp_path / "d", f"{stem}_T2w.nii.gz", f"derivatives/hand/{stem}_dseg.nii.gz")
    assert found(tmp_path / "d") == [
        (f"d/{stem}_T2w", "d/sub-01", f"{stem}_T2w.nii.gz", f"{stem}_dseg.nii.gz")
        for stem in ("sub-01_ses-a", "sub-01_ses-b")
    ]


def test_a_label_belongs_to_the_scan_whose_entities_it_repeats(tmp_path):
    folder = data_set(tmp_path / "d", "hand/_acq-fast_desc-manual_dseg")
    for subject in ("sub-01", "sub-02"):
        touch(folder, f"{subject}/anat/{subject}_acq-fast_T1w.nii.gz")
        touch(
            folder, f"{subject}/anat/{subject}_defacemask.nii.gz", f"{subject}/func/x_bold.nii.gz"
        )
    images = [image for _, _, image, _ in found(folder)]
    assert images == ["sub-01_acq-fast_T1w.nii.gz", "sub-02_acq-fast_T1w.nii.gz"]


@given(
    source=st.lists(st.sampled_from(["acq-fast", "run-2", "rec-norm", "ses-1"]), unique=True),
    own=st.lists(st.sampled_from(["label-L", "desc-a", "seg-x", "res-1"]), unique=True),
    contrast=st.sampled_from(["T1w", "T2w", "ct"]),
    says=st.booleans(),
    word=st.sampled_from(["dseg", "mask", "seg"]),
)
def test_a_name_taken_to_pieces_says_which_scan_and_which_kind(source, own, contrast, says, word):
    """Wherever a tool puts the contrast: at the end of the scan's part, or nowhere."""
    image = "_".join(["sub-01", *source, contrast])
    label = "_".join(["sub-01", *source, *[contrast] * says, *own, word])
    one, other = (bids_parsed(Path(f"{stem}.nii"), stem, None) for stem in (image, label))
    assert one.source == other.source == {"sub-01", *source} and one.subject == "sub-01"
    assert (one.contrast, one.kind) == (contrast, "")
    assert other.contrast == contrast * says and other.kind == "_" + "_".join([*own, word])
    assert bids_parsed(Path("x.nii"), label, other.kind).kind == other.kind


def test_ct_is_told_by_its_name_and_all_else_in_anat_is_mr(tmp_path):
    mr = data_set(tmp_path / "mr", "hand/_dseg", contrasts=("PDw",))
    ct = touch(tmp_path / "ct", "sub-1/ct/sub-1_ct.nii", "derivatives/sub-1/sub-1_dseg.nii")
    cases, _, _ = find_cases([mr, ct])
    assert [(case.dataset, case.modality) for case in cases] == [("ct", "ct")] + [("mr", "mr")] * 2


def test_a_lookup_table_names_the_structures_and_the_nearest_speaks(tmp_path):
    folder = data_set(tmp_path / "d", "hand/_desc-aseg_dseg")
    home = folder / "derivatives/hand"
    assert find_cases([folder])[0][0].names is None
    assert find_cases([folder], labels=["1=cord"])[0][0].names == {"cord": (1,)}
    (folder / "dseg.tsv").write_text("index\tname\n1\tof all\n")
    assert find_cases([folder])[0][0].names == {"of_all": (1,)}
    (home / "desc-other_dseg.tsv").write_text("index\tname\n1\tof another\n")
    (home / "dseg.tsv").write_text("name\tindex\nof the pipeline\t1\n")
    assert find_cases([folder])[0][0].names == {"of_the_pipeline": (1,)}
    (home / "desc-aseg_dseg.tsv").write_text(
        "\ufeffindex\tname\n0\tx\n1\tLeft-Lung\n7\tleft lung\n"
    )
    assert find_cases([folder])[0][0].names == {"left_lung": (1, 7)}
    (home / "sub-02/anat/sub-02_desc-aseg_dseg.tsv").write_text("index\tname\n1\tof one\n")
    assert [case.names for case in find_cases([folder])[0]] == [
        {"left_lung": (1, 7)},
        {"of_one": (1,)},
    ]
    told = find_cases([folder], labels=["sub-01*:1=mine"])[0][0].names
    assert told == {"mine": (1,)}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "wants the columns index and name"),
        (b"index,name\n1,liver\n", "wants the columns index and name, separated by tabs"),
        (b"index\tname\n1\tliver\nx\tspleen\n", "line 3 wants an index from 0 and a name"),
        (b"index\tname\n1\n", "line 2 wants an index"),
        (b"index\tname\n1\t\xff\xfe\n", "not text"),
    ],
)
def test_a_lookup_table_that_cannot_be_read_is_named(tmp_path, text, message):
    folder = data_set(tmp_path / "d", "hand/_dseg")
    (folder / "derivatives/hand/dseg.tsv").write_bytes(text)
    with pytest.raises(BadInput, match=f"dseg.tsv: .*{message}"):
        find_cases([folder])


def test_masks_of_one_structure_each_are_volumes_each(tmp_path):
    folder = data_set(tmp_path / "d", "hand/_label-liver_mask", "hand/_label-Spleen_mask")
    cases, _, _ = find_cases([folder])
    assert [(case.name, case.patient, case.names) for case in cases[:2]] == [
        ("d/sub-01_T1w_label-Spleen_mask", "d/sub-01", {"spleen": (1,)}),
        ("d/sub-01_T1w_label-liver_mask", "d/sub-01", {"liver": (1,)}),
    ]
    one = find_cases([folder], pair_suffix="label-liver_mask")[0]
    assert [case.name for case in one] == ["d/sub-01_T1w", "d/sub-02_T1w"]


def test_labels_may_lie_in_derivatives_itself_or_beside_their_images(tmp_path):
    inside = data_set(tmp_path / "a", "./_dseg")
    assert found(inside) == found(inside / "derivatives") and len(found(inside)) == 2
    beside = touch(tmp_path / "b", "sub-1/anat/sub-1_T1w.nii", "sub-1/anat/sub-1_label-L_mask.nii")
    assert [label for *_, label in found(beside)] == ["sub-1_label-L_mask.nii"]


def test_a_description_is_no_structure(tmp_path):
    folder = data_set(tmp_path / "d", "hand/_desc-manual_mask")
    assert {case.names is None for case in find_cases([folder])[0]} == {True}


@pytest.mark.parametrize("ending", ["_T2w_label-SC_seg", "_T2w_seg-manual", "_T2w_lesion"])
def test_a_label_may_repeat_its_images_whole_name(tmp_path, ending):
    folder = data_set(tmp_path / "d", f"labels/{ending}", contrasts=("T1w", "T2w"))
    told = {"pair_suffix": "_lesion"} if "lesion" in ending else {}
    images = [image for _, _, image, _ in found(folder, **told)]
    assert images == ["sub-01_T2w.nii.gz", "sub-02_T2w.nii.gz"]


def test_labels_in_a_standard_space_are_not_of_the_raw_scan(tmp_path):
    folder = data_set(tmp_path / "d", "prep/_space-MNI152_dseg", "prep/_space-orig_desc-a_dseg")
    labels = [label for *_, label in found(folder)]
    assert labels == [f"sub-0{n}_space-orig_desc-a_dseg.nii.gz" for n in (1, 2)]


def test_a_pipeline_that_is_given_brings_its_own_images(tmp_path):
    names = ("_dseg", "_desc-preproc_T1w", "_space-MNI_desc-preproc_T1w")
    folder = data_set(tmp_path / "d", *(f"prep/{name}" for name in names))
    assert [image for _, _, image, _ in found(folder)] == ["sub-01_T1w.nii.gz", "sub-02_T1w.nii.gz"]
    own = found(folder / "derivatives/prep")
    assert own[0][0] == "d/sub-01_desc-preproc_T1w" and len(own) == 2


def test_contrasts_are_chosen_like_channels(tmp_path):
    folder = data_set(tmp_path / "d", "hand/_dseg", contrasts=("T1w", "T2w"))
    message = "may be of .*T1w.nii.gz or of another; choose with `channel` T1w, T2w or 0 or 1"
    with pytest.raises(BadInput, match=message):
        find_cases([folder])
    with pytest.raises(BadInput, match="no channel FLAIR; choose with `channel` T1w, T2w"):
        find_cases([folder], channel=["FLAIR"])
    names = [name for name, *_ in found(folder, channel=["t2w"])]
    assert names == ["d/sub-01_T2w", "d/sub-02_T2w"]
    assert len(found(folder, channel=["T1w", "T2w"])) == 4
    some = found(folder, channel=["T1w", "sub-02*=T2w"])
    assert [name for name, *_ in some] == ["d/sub-01_T1w", "d/sub-02_T2w"]


def test_a_scan_that_holds_several_channels_is_not_asked_about_in_circles(tmp_path):
    """The option `channel` chooses among T1w and T2w here; of what one of them holds it cannot."""
    folder = data_set(tmp_path / "d", "hand/_dseg", contrasts=("T1w", "T2w"))
    image = np.zeros((4, 5, 6, 3), np.int16)
    save(folder / "sub-01/anat/sub-01_T1w.nii.gz", image, np.eye(4))
    with pytest.raises(BadInput, match="sub-01_T1w.nii.gz: holds 3 channels, .* split it"):
        find_cases([folder], channel=["T1w"])
    assert len(find_cases([folder], channel=["T2w"])[0]) == 2


def test_a_contrast_that_is_not_there_is_not_silently_another(tmp_path):
    """Of two data sets one has no T2w: its T1w must not slip in."""
    both = data_set(tmp_path / "a", "hand/_dseg", contrasts=("T1w", "T2w"))
    one = data_set(tmp_path / "b", "hand/_dseg")
    with pytest.raises(BadInput, match="b/.*T1w.nii.gz: has no channel T2w, only T1w"):
        find_cases([both, one], channel=["T2w"])
    assert len(find_cases([both, one], channel=["T1w"])[0]) == 4


def test_of_several_pipelines_and_kinds_the_user_chooses(tmp_path):
    folder = data_set(tmp_path / "d", "hand/_dseg", "hand/_desc-brain_mask", "net/_dseg")
    touch(folder, "derivatives/mriqc/sub-01/anat/sub-01_T1w.json")
    hand, net = (folder / "derivatives" / name for name in ("hand", "net"))
    with pytest.raises(BadInput, match=f"give the folder of one: {hand} or {net}$"):
        find_cases([folder])
    with pytest.raises(BadInput, match="choose with `pair_suffix` _desc-brain_mask or _dseg$"):
        find_cases([hand])
    with pytest.raises(BadInput, match="no label _gt; choose with `pair_suffix` _desc-brain_m"):
        find_cases([hand], pair_suffix="_gt")
    labels = [label for *_, label in found(hand, pair_suffix="_dseg")]
    assert labels == ["sub-01_dseg.nii.gz", "sub-02_dseg.nii.gz"]
    assert len(found(folder, pair_suffix="desc-brain_mask")) == 2
    assert [name for name, *_ in found(net)] == ["d/sub-01_T1w", "d/sub-02_T1w"]
    with pytest.raises(BadInput, match="are both called d/sub-01_T1w"):
        find_cases([hand, net], pair_suffix="_dseg")


def test_data_without_labels_or_without_images_says_what_is_wanted(tmp_path):
    bare = data_set(tmp_path / "bare")
    message = r"without labels; .*derivatives/PIPELINE/.*_dseg.nii.gz .*\(.* now: nothing\)"
    with pytest.raises(BadInput, match=message):
        find_cases([bare])
    with pytest.raises(BadInput, match="now: mriqc"):
        find_cases([touch(bare, "derivatives/mriqc/sub-01/anat/sub-01_T1w.json")])
    lone = data_set(tmp_path / "lone", "hand/_dseg", contrasts=())
    for folder in (lone, lone / "derivatives/hand"):
        with pytest.raises(BadInput, match="labels without images"):
            find_cases([folder])


def test_those_without_a_partner_are_listed(tmp_path):
    folder = data_set(tmp_path / "d", "hand/_dseg", contrasts=("T1w",))
    touch(folder, "sub-03/anat/sub-03_T1w.nii", "sub-01/anat/sub-01_FLAIR.nii")
    touch(folder, "derivatives/hand/sub-04/anat/sub-04_dseg.nii")
    alone = find_cases([folder], channel=["T1w"])[1]
    assert [one.case for one in alone] == ["d/sub-03_T1w", "d/sub-04_dseg"]
    assert "sub-03_T1w.nii: no label" in alone[0][1] and "sub-04_dseg.nii: no image" in alone[1][1]


def test_prepared_masks_are_the_files_values_and_an_atlas_names_only_what_is_there(tmp_path):
    for number in (1, 2):
        image, label = anatomy(seed=number, values=(1, 2) if number == 1 else (1,))
        name = f"sub-{number}/anat/sub-{number}"
        save(tmp_path / f"d/{name}_T1w.nii.gz", image)
        save(tmp_path / f"d/derivatives/hand/{name}_dseg.nii.gz", label)
    (tmp_path / "d/derivatives/hand/dseg.tsv").write_text(TABLE)
    summary = prepare([tmp_path / "d"], tmp_path / "out", workers=1)
    assert summary.datasets["d"][:4] == (2, 2, 18, {"left_kidney": 2, "liver": 1})
    shards = open_shards([tmp_path / "out"])
    assert [volume.patient for volume in shards.volumes] == ["d/sub-1", "d/sub-2"]
    masks = load_masks(shards, 1, range(9), "left_kidney")
    assert masks.sum() == (label == 1).sum() and "liver" not in shards.volumes[1].counts


def test_a_user_is_told_in_one_line_with_exit_code_2(tmp_path):
    folder = data_set(tmp_path / "d", "hand/_dseg", "net/_dseg")
    command = [sys.executable, "-m", "experiments.prepare_data", "--output", tmp_path / "out"]
    ended = subprocess.run(
        [*command, "--input", folder],
        capture_output=True,
        text=True,
        cwd=Path(__file__).resolve().parents[2],
        check=False,
    )
    assert ended.returncode == 2 and ended.stdout == ""
    assert ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1
