"""Of images that hold several channels the user chooses, by name or number, for all or some."""

import gzip
import json

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.data.cases import find_cases
from jaxmeta.data.channels import channel_number, choices
from jaxmeta.data.formats.image import read_image, read_label
from jaxmeta.data.formats.nifti import save_mask
from jaxmeta.data.grid import Grid
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from tests.helpers.scans import anatomy, contents, decathlon, oriented, real, save, touch

NAMES = {"0": "FLAIR", "1": "T1w", "2": "t1 gd"}


def several(seed=0):
    """Draw three channels of one patient that differ everywhere, and their label."""
    image, label = anatomy(seed=seed)
    return np.stack([image, 400 - image, image // 2 + 7], -1), label


@pytest.fixture
def brains(tmp_path):
    """A Decathlon data set of two patients with three channels each."""
    return decathlon(tmp_path / "brains", {f"c{n}": several(n) for n in range(2)}, modality=NAMES)


def names(folder, *channel, **told):
    return [case.name for case in find_cases([folder], channel=channel, **told)[0]]


@given(st.lists(st.sampled_from(["FLAIR", "T1 w", "t2*", "2"]), min_size=1, unique=True), st.data())
def test_a_name_and_a_number_are_two_words_for_one_channel(declared, data):
    number = data.draw(st.integers(0, len(declared) - 1))
    word = data.draw(st.sampled_from([declared[number], declared[number].upper()]))
    assert channel_number(word, len(declared), declared, "a.nii") == number
    if str(number) not in declared:
        assert channel_number(str(number), len(declared), declared, "a.nii") == number


@pytest.mark.parametrize(
    ("count", "declared", "want"),
    [
        (4, (), "`channel` 0 to 3"),
        (2, (), "`channel` 0 or 1"),
        (2, ("T1", "T2"), "`channel` T1, T2 or 0 or 1"),
        (3, ("MRI",), "`channel` 0 to 2"),  # one name for all tells nothing
        (2, ("T1", "t1"), "`channel` 0 or 1"),  # nor do names that are one
    ],
)
def test_the_choices_are_the_names_that_tell_channels_apart(count, declared, want):
    assert choices(count, declared) == want


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16, ">i2", np.float32])
@pytest.mark.parametrize("axes", [(3,), (1, 3), (3, 1)])  # Decathlon, ITK, and the other way
def test_the_channel_that_is_read_is_the_files_own(tmp_path, ending, dtype, axes):
    image = several()[0].clip(0, 255).reshape(18, 24, 9, *axes)
    kind = nib.Nifti1Header(endianness=">" if dtype == ">i2" else "<")
    volume = nib.Nifti1Image(image.astype(dtype), oriented("LPS"), kind, dtype=np.dtype(dtype))
    volume.header.set_slope_inter(0.5, -7)
    path = tmp_path / f"a{ending}"
    nib.save(volume, path)
    whole = nib.load(path).get_fdata().reshape(18, 24, 9, 3)
    for number in range(3):
        found = read_image(path, channel=number)
        np.testing.assert_allclose(real(found), whole[..., number], atol=1e-3)


def test_a_mask_of_one_channel_is_a_3d_file_on_the_images_grid(tmp_path):
    channels, label = several()
    path = save(tmp_path / "a.nii.gz", channels, oriented("PSR"))
    found = read_image(path, channel=2)
    save_mask(tmp_path / "m.nii.gz", label, Grid(label.shape, found.affine, found.header, "axial"))
    mask, old = nib.load(tmp_path / "m.nii.gz"), nib.load(path)
    assert mask.shape == label.shape and mask.header["dim"][0] == 3
    np.testing.assert_array_equal(mask.affine, old.affine)
    assert mask.header.get_zooms() == old.header.get_zooms()[:3]


def test_an_image_of_several_channels_is_not_read_without_a_choice(tmp_path):
    channels, _ = several()
    path = save(tmp_path / "a.nii", channels, oriented("RAS"))
    with pytest.raises(BadInput, match="a.nii: holds 3 channels; choose with `channel` 0 to 2$"):
        read_image(path)
    with pytest.raises(BadInput, match="choose with `channel` FLAIR, T1w, t1 gd or 0 to 2$"):
        read_image(path, channels=tuple(NAMES.values()))
    with pytest.raises(BadInput, match="a.nii: a label of 3 channels"):
        read_label(path)
    (tmp_path / "cut.nii.gz").write_bytes(gzip.compress(path.read_bytes()[:-10]))
    with pytest.raises(BadInput, match="ends before its last channel"):
        read_image(tmp_path / "cut.nii.gz", channel=0)
    deep = save(tmp_path / "b.nii", np.zeros((4, 4, 4, 2, 2), np.int16), oriented("RAS"))
    with pytest.raises(BadInput, match="has 5 dimensions"):
        read_image(deep, channel=0)


def test_each_chosen_channel_is_a_volume_of_the_same_patient(brains):
    cases, _, _ = find_cases([brains], channel=["t1_gd", "0"])
    assert [(case.name, case.patient, case.channel, case.modality) for case in cases] == [
        ("brains/c0_flair", "brains/c0", 0, "mr"),
        ("brains/c0_t1_gd", "brains/c0", 2, "mr"),
        ("brains/c1_flair", "brains/c1", 0, "mr"),
        ("brains/c1_t1_gd", "brains/c1", 2, "mr"),
    ]
    assert names(brains, "T1w", "c1*=FLAIR") == ["brains/c0_t1w", "brains/c1_flair"]
    assert names(brains, "brains/*=1") == ["brains/c0_t1w", "brains/c1_t1w"]


def test_a_channel_that_is_not_there_is_refused_with_those_that_are(brains):
    for words, message in [
        (
            ["T2w"],
            "c0.nii.gz: has no channel T2w; choose with `channel` FLAIR, T1w, t1 gd or 0 to 2",
        ),
        (["3"], "has no channel 3; choose"),
        (["-1"], "has no channel -1; choose"),
        (["q*=FLAIR", "0"], "`channel=q.*`: no file matches q"),
        (["=FLAIR"], "must be NAME, NUMBER from 0"),
        (["*"], "must be NAME, NUMBER from 0"),
    ]:
        with pytest.raises(BadInput, match=message):
            find_cases([brains], channel=words)


def test_a_bare_word_leaves_3d_images_alone_unless_there_is_nothing_else(brains, tmp_path):
    flat = decathlon(tmp_path / "flat", 1)
    cases, _, _ = find_cases([brains, flat], channel=["FLAIR"])
    assert [(case.name, case.channel) for case in cases][-1] == ("flat/case0", None)
    with pytest.raises(BadInput, match="`channel=FLAIR`: no image holds several channels"):
        find_cases([flat], channel=["FLAIR"])
    with pytest.raises(BadInput, match="case0.nii.gz: has no channel 2, only MRI"):
        find_cases([flat], channel=["case*=2"])


def test_channels_that_nobody_names_go_by_number(tmp_path):
    folder = decathlon(tmp_path / "d", {"a": several()}, modality="MRI")
    assert names(folder, "2") == ["d/a_2"]
    bare = decathlon(tmp_path / "e", {"a": several()}, modality=None)
    with pytest.raises(BadInput, match="no file declares its modality"):
        names(bare, "2")
    assert names(bare, "2", modality=["mr"]) == ["e/a_2"]


def test_nnunets_files_are_chosen_like_channels(tmp_path):
    files = [f"imagesTr/{case}_000{n}.nii.gz" for case in "ab" for n in range(2)]
    folder = touch(tmp_path / "d", *files, "labelsTr/a.nii.gz", "labelsTr/b.nii.gz")
    about = {"channel_names": {"0": "CT", "1": "T2"}, "labels": {"background": 0, "x": 1}}
    (folder / "dataset.json").write_text(json.dumps(about))
    assert len(names(folder)) == 4
    assert names(folder, "t2") == names(folder, "1") == ["d/a_0001", "d/b_0001"]
    (folder / "dataset.json").write_text(json.dumps(about | {"channel_names": ["CT", "T2"]}))
    assert names(folder, "a*=T2") == ["d/a_0001", "d/b_0000", "d/b_0001"]
    with pytest.raises(BadInput, match="no channel PET; choose with `channel` CT, T2 or 0 or 1"):
        names(folder, "PET")


def test_a_prepared_channel_is_that_channel_and_says_so(brains, tmp_path):
    prepare([brains], tmp_path / "one", channel=["T1w"], workers=1)
    volumes = open_shards([tmp_path / "one"]).volumes
    assert [(v.name, v.patient, v.channel) for v in volumes] == [
        ("brains/c0_t1w", "brains/c0", "T1w"),
        ("brains/c1_t1w", "brains/c1", "T1w"),
    ]
    flat = {f"c{n}_t1w": (several(n)[0][..., 1], several(n)[1]) for n in range(2)}
    prepare([decathlon(tmp_path / "f/brains", flat)], tmp_path / "two", workers=1)
    split = open_shards([tmp_path / "two"]).volumes
    for one, other in zip(volumes, split, strict=True):
        assert one.intensity == other.intensity and other.channel is None
        assert one.grid.shape == other.grid.shape == (18, 24, 9)
    records = [
        [data for name, data in contents(tmp_path / place).items() if "array_record" in name]
        for place in ("one", "two")
    ]
    assert records[0] == records[1], "the same as of a file that holds this channel alone"
    with pytest.raises(BadInput, match="c0.nii.gz: holds 3 channels; choose with `channel` FLAIR"):
        prepare([brains], tmp_path / "none", workers=1)
