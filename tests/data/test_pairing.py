"""Images and labels pair by words in their names, if in one way only; else the user is shown
how."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmeta.data.cases import find_cases
from jaxmeta.data.words import IMAGE, LABEL, template
from jaxmeta.errors import BadInput
from tests.helpers.scans import touch


def found(folder, **told):
    """Find (case, patient, image, label) in a folder, with paths from there; none is alone."""
    cases, alone, _ = find_cases([folder], modality=["mr"], **told)
    assert not alone
    return [
        (
            case.name.split("/")[1],
            case.patient.split("/")[1],
            str(case.image.relative_to(folder)),
            str(case.label.relative_to(folder)),
        )
        for case in cases
    ]


@settings(max_examples=25)
@given(
    st.sampled_from(sorted(IMAGE | LABEL)),
    st.sampled_from(["21", "patient021", "b-3.c_x", "007"]),
    st.sampled_from(["_", "-", "."]),
    st.booleans(),
    st.sampled_from([str.lower, str.upper, str.title]),
)
def test_a_word_at_either_end_of_a_name_leaves_the_identifier(word, own, between, first, case):
    word = case(word)
    name, text = (
        (f"{word}{between}{own}", f"{word}{between}{{id}}")
        if first
        else (f"{own}{between}{word}", f"{{id}}{between}{word}")
    )
    assert template(name) == (text, own, word.lower() in LABEL, word.lower() in IMAGE)
    assert template(own) == ("{id}", own, False, False)
    assert template(word)[:2] == (word, "")


NAMED = [  # (image, label) of case 21, and of case 3
    ("image_{}", "label_{}"),
    ("img_{}", "seg_{}"),
    ("{}_image", "{}_label"),
    ("Image{}", "Label{}"),
    ("volume-{}", "segmentation-{}"),  # LiTS
    ("scans/{}", "masks/{}"),
    ("img/{}", "gt/{}"),
    ("scans/{}", "masks/{}_seg"),
    ("img/img_{}", "gt/seg_{}"),
    ("images/image_{}", "labels/label_{}"),
    ("p{}/image", "p{}/label"),
    ("case_{}/imaging", "case_{}/segmentation"),  # KiTS
    ("train/image_{}", "train/label_{}"),
    ("train/scans/{}", "train/masks/{}"),
    ("{}", "seg_{}"),
]


@pytest.mark.parametrize(("image", "label"), NAMED)
def test_pairs_of_which_only_one_reading_is_possible_are_found(tmp_path, image, label):
    ending = ".NII.GZ" if len(image) % 2 else ".nii.gz"
    files = {n: (image.format(n) + ending, label.format(n) + ending) for n in ("21", "3")}
    folder = touch(tmp_path / "d", *(file for pair in files.values() for file in pair))
    told = found(folder)
    assert [pair[2:] for pair in told] == list(files.values())
    assert all(n in patient for (_, patient, *_), n in zip(told, files, strict=True))


@pytest.mark.parametrize(("image", "label"), NAMED)
def test_the_same_pairs_are_read_by_patterns(tmp_path, image, label):
    files = {n: (f"{image.format(n)}.nii", f"{label.format(n)}.nii") for n in ("21", "3")}
    folder = touch(tmp_path / "d", *(file for pair in files.values() for file in pair), "x/y.nii")
    told = found(folder, pairs=[image.replace("{}", "{id}"), label.replace("{}", "{id}")])
    assert told == [(n, n, *files[n]) for n in files]


def test_of_several_identifiers_the_first_is_the_patient(tmp_path):
    names = [f"p{p}/{kind}_{n}.nii" for p in "ab" for n in "12" for kind in ("image", "label")]
    folder = touch(tmp_path / "d", *names)
    told = found(folder, pairs=["{id}/image_{id}", "{id}/label_{id}.nii.gz"])
    assert [pair[:2] for pair in told] == [(f"p{p}_{n}", f"p{p}") for p in "ab" for n in "12"]
    with pytest.raises(BadInput, match="pa/label_1.nii and .*pb/label_1.nii are both 1 of"):
        found(folder, pairs=["*/image_{id}", "*/label_{id}"])
    message = "`pairs='{id}/image_{id}' '{id}/label_{id}'`"
    with pytest.raises(BadInput) as caught:  # are pa and pb patients, or training and test?
        found(folder)
    assert message in str(caught.value) and "there are pa/image_1.nii, pa/image_2.nii" in str(
        caught.value
    )


def test_where_several_readings_are_possible_each_is_shown(tmp_path):
    names = [f"{kind}_{n}.nii" for n in "12" for kind in ("image", "label", "mask")]
    with pytest.raises(BadInput) as caught:
        found(touch(tmp_path / "d", *names))
    for label in ("label", "mask"):
        assert f"`pairs='image_{{id}}' '{label}_{{id}}'`" in str(caught.value)
    assert "image_1.nii, image_2.nii, label_1.nii and 3 more" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(found(tmp_path / "d", pairs=["image_{id}", "mask_{id}"])) == 2


@pytest.mark.parametrize("place", ["", "{}/", "b_{}/"])
def test_of_several_contrasts_each_is_shown_and_a_lone_one_is_taken(tmp_path, place):
    names = [
        f"{place}b_{{}}_{kind}.nii".replace("{}", n) for n in "12" for kind in ("flair", "seg")
    ]
    folder = touch(tmp_path / "d", *names)
    assert [pair[2:] for pair in found(folder)] == [tuple(names[:2]), tuple(names[2:])]
    touch(folder, *(name.replace("seg", "t1") for name in names if "seg" in name))
    with pytest.raises(BadInput) as caught:
        found(folder)
    ids = "{id}/{id}" if place else "{id}"
    for image in ("flair", "t1"):
        assert f"`pairs='{ids}_{image}' '{ids}_seg'`" in str(caught.value)
    told = found(folder, pairs=[f"{ids}_t1", f"{ids}_seg"])
    assert len(told) == 2


def test_where_no_word_tells_the_files_are_listed_with_a_form_to_fill(tmp_path):
    folder = touch(tmp_path / "d", *(f"{kind}/{n}.nii.gz" for kind in "AB" for n in (1, 2)))
    with pytest.raises(
        BadInput, match="there are A/1.nii.gz, A/2.nii.gz, B/1.nii.gz and 1 more; say"
    ):
        found(folder)
    assert len(found(folder, pairs=["A/{id}", "B/{id}"])) == 2


def test_patterns_that_pair_nothing_say_what_they_fit(tmp_path):
    folder = touch(tmp_path / "d", "image_1.nii", "label_2.nii")
    with pytest.raises(
        BadInput, match="fits 1 image and 1 label, none of the same {id}; there are"
    ):
        found(folder, pairs=["image_{id}", "label_{id}"])
    with pytest.raises(BadInput, match="wants two patterns with {id}"):
        found(folder, pairs=["image_*", "label_{id}"])


def test_files_that_no_pattern_fits_are_told(tmp_path):
    names = [f"{kind}_{n}.nii" for n in "12" for kind in ("image", "label", "dose", "plan")]
    folder = touch(tmp_path / "d", *names)
    for told in ({}, {"pairs": ["image_{id}", "label_{id}"]}):
        *how, note = find_cases([folder], modality=["mr"], **told)[2]
        assert len(how) == (not told) and all("read as `pairs='image_{id}'" in line for line in how)
        assert "4 NIfTI files fit neither" in note and "(dose_1.nii, dose_2.nii, plan_1.nii" in note
    for name in ("dose_1.nii", "dose_2.nii", "plan_1.nii"):
        (folder / name).unlink()
    *_, note = find_cases([folder], modality=["mr"])[2]
    assert "1 NIfTI file fits neither of `pairs=" in note and "(plan_2.nii)" in note


def test_a_lone_file_of_a_pattern_is_listed(tmp_path):
    folder = touch(tmp_path / "d", "image_1.nii", "label_1.nii", "image_2.nii", "label_3.nii")
    for told in ({}, {"pairs": ["image_{id}", "label_{id}"]}):
        cases, alone, _ = find_cases([folder], modality=["mr"], **told)
        assert [case.name for case in cases] == ["d/1"]
        assert [one.case for one in alone] == ["d/2", "d/3"]
        assert "image_2.nii: no label" in alone[0][1] and "label_3.nii: no image" in alone[1][1]
