"""CT in other units is refused by `prepare`, with how many there are, or brought to HU by
`rescale`."""

import nibabel as nib
import numpy as np
import pytest

from jaxmeta.data.cases import find_cases
from jaxmeta.data.shards.load import load_images
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from tests.helpers.scans import SHAPE, anatomy, decathlon, oriented, save

NONE = {"0 to 1": lambda hu: (hu + 1024) / 4095, "1024": lambda hu: hu + 1024}


def trunk(seed=0):
    """Draw a CT in HU and its label: air about a body with two organs."""
    image, label = anatomy(seed=seed)
    hu = np.where(np.arange(SHAPE[0])[:, None, None] < 6, -1000, image.astype(int) - 60)
    return hu.astype(np.float32), label


@pytest.fixture
def mixed(tmp_path):
    """Make three CTs, of which `b` has 1024 added, and an MR with the numbers of `b`."""
    cases = {name: trunk(n) for n, name in enumerate("abc")}
    cases["b"] = (cases["b"][0] + 1024, cases["b"][1])
    folder = decathlon(tmp_path / "in", cases | {"mr": cases["b"]}, modality="CT")
    return folder


TOLD = {"modality": ["mr*=mr"], "workers": 1}


def test_a_ct_in_other_units_is_refused_and_how_many_are(mixed, tmp_path):
    with pytest.raises(BadInput) as caught:
        prepare([mixed], tmp_path / "out", **TOLD)
    for part in (
        "imagesTr/b.nii.gz: is not in HU",
        "give `rescale=1,-1024`",
        "or `modality=mr`",
        "(so it is with 1 of 3 CT scans; `skip_bad` leaves them out)",
    ):
        assert part in str(caught.value)
    summary = prepare([mixed], tmp_path / "out", skip_bad=True, **TOLD)
    assert [case for case, _ in summary.skipped] == ["in/b"] and "not in HU" in summary.skipped[0][
        1
    ]
    with pytest.raises(
        BadInput, match="so it is with 1 of 3 CT scans"
    ):  # the part is there: it says so again
        prepare([mixed], tmp_path / "out", **TOLD)


@pytest.mark.parametrize("units", NONE)
def test_rescaled_to_hu_a_network_sees_what_it_sees_of_hu(tmp_path, units):
    hu, label = trunk()
    slope = {"0 to 1": 4095.0, "1024": 1.0}[units]
    stored = NONE[units](hu).astype(np.float32)
    save(tmp_path / "in/a.nii.gz", hu)
    save(tmp_path / "in/b.nii.gz", stored)
    for name in "ab":
        save(tmp_path / f"in/{name}_seg.nii.gz", label)
    rescale = [f"b*={slope},-1024"]
    prepare([tmp_path / "in"], tmp_path / "out", modality=["ct"], rescale=rescale, workers=1)
    shards = open_shards([tmp_path / "out"])
    one, other = (load_images(shards, n, range(9), size=16) for n in (0, 1))
    np.testing.assert_allclose(one, other, atol=2e-3)
    assert one.std() > 0.5
    mr = prepare([tmp_path / "in"], tmp_path / "mr", modality=["ct", "b*=mr"], workers=1)
    assert not mr.skipped


def test_a_rule_that_brings_nothing_to_hu_is_a_mistake(mixed):
    for rescale, message in (
        (["q*=1,-1024"], "no CT matches q"),
        (["mr*=1,-1024"], "no CT matches mr"),
        (["1"], "must be SLOPE,INTERCEPT"),
        (["0,3"], "must be SLOPE,INTERCEPT"),
        (["nan,3"], "must be SLOPE,INTERCEPT"),
        (["=1,3"], "must be SLOPE,INTERCEPT"),
    ):
        with pytest.raises(BadInput, match=message):
            find_cases([mixed], modality=["mr*=mr"], rescale=rescale)
    with pytest.raises(BadInput, match="`rescale=1,-1024`: it is for CT, and no scan is"):
        find_cases([mixed], modality=["*=mr"], rescale=["1,-1024"])
    scales = {
        case.name: case.rescale
        for case in find_cases([mixed], modality=["mr*=mr"], rescale=["b*=1,-1024"])[0]
    }
    assert scales == {"in/a": None, "in/b": (1.0, -1024.0), "in/c": None, "in/mr": None}
    with pytest.raises(
        BadInput, match="a.nii.gz: is not in HU by its `rescale`, .* give another"
    ):  # a wrong one is seen, too
        prepare([mixed], mixed / "out", rescale=["1,-1024"], **TOLD)


def test_what_is_odd_about_files_is_told_each_time(tmp_path):
    for n in range(5):
        image, label = anatomy(seed=n)
        turned = oriented("RAS")
        turned[0, 3] += 0.3
        save(tmp_path / f"in/c{n}.nii.gz", image)
        save(tmp_path / f"in/c{n}_seg.nii.gz", label, turned)
    for reused in (0, 5):
        summary = prepare([tmp_path / "in"], tmp_path / "out", modality=["mr"], workers=1)
        assert summary.reused == reused and len(summary.notes) == 3
        assert "c0_seg.nii.gz: its affine differs" in summary.notes[0]
        assert "0.3 mm" in summary.notes[0] and "(and 2 files more like these)" in summary.notes[2]
    assert nib.load(tmp_path / "in/c0.nii.gz").shape == SHAPE
