"""A format is one file and one line of `READERS`: one that only this test knows is prepared."""

import nibabel as nib
import numpy as np
import pytest

from jaxmeta.data.cases import find_cases
from jaxmeta.data.formats.formats import READERS, case_stem, is_image, kinds
from jaxmeta.data.formats.image import read_image, read_pair, shape_of
from jaxmeta.data.formats.nifti import header_for, save_mask
from jaxmeta.data.formats.reader import Head, Raw, Reader
from jaxmeta.data.grid import from_slices
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import load_images, load_masks, open_shards
from jaxmeta.errors import BadInput
from jaxmeta.files import DAMAGED
from jaxmeta.inference.predict import Options, outputs
from jaxmeta.inference.scan import Reading, read_scan, seen
from jaxmeta.inference.support import parsed, read_support
from tests.helpers.scans import anatomy, oriented, save, touch


def read(path, choose):
    try:
        with np.load(path) as held:
            values, affine = held["values"], held["affine"]
    except DAMAGED as error:
        raise BadInput(f"{path}: no archive of NumPy ({error})") from None
    values = values.reshape(*values.shape[:3], -1)[..., choose(values.shape)]
    return Raw(values, 1.0, 0.0, affine, header_for(values.shape, affine))


def head(path):
    try:
        with np.load(path) as held:
            return Head(held["values"].shape, held["affine"])
    except DAMAGED:
        return None


@pytest.fixture
def npz(monkeypatch):
    """Let archives of NumPy be a format that is read."""
    monkeypatch.setitem(READERS, ".npz", Reader("NumPy", read, head))


def written(path, values, affine):
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez(path, values=values, affine=affine)
    return path


def test_a_folder_of_a_new_format_gives_what_its_nifti_gives(npz, tmp_path):
    for number, codes in enumerate(("RAS", "PSR")):
        (image, label), affine = anatomy(seed=number), oriented(codes)
        for name, array in ((f"c{number}", image), (f"c{number}_seg", label)):
            written(tmp_path / f"new/belly/{name}.npz", array, affine)
            save(tmp_path / f"old/belly/{name}.nii.gz", array, affine)
    told = dict(modality=["mr"], labels=["1=liver", "2=spleen"], workers=1)
    for kind in ("new", "old"):
        summary = prepare([tmp_path / kind / "belly"], tmp_path / f"{kind}_shards", **told)
        assert (summary.skipped, summary.datasets["belly"].volumes) == ([], 2)
    new, old = (open_shards([tmp_path / f"{kind}_shards"]) for kind in ("new", "old"))
    for number, (one, other) in enumerate(zip(new.volumes, old.volumes, strict=True)):
        assert (one.name, one.fingerprint) == (other.name, other.fingerprint)
        how = dict(size=16, spacing=2.0)
        images = load_images(new, number, range(5), **how)
        np.testing.assert_array_equal(images, load_images(old, number, range(5), **how))
        masks = load_masks(new, number, range(9), "liver")
        np.testing.assert_array_equal(masks, load_masks(old, number, range(9), "liver"))
        save_mask(tmp_path / "m.nii.gz", from_slices(masks, one.grid), one.grid)
        mask = nib.load(tmp_path / "m.nii.gz")
        np.testing.assert_allclose(mask.affine, other.grid.affine, atol=1e-5)
        np.testing.assert_array_equal(
            np.asarray(mask.dataobj), from_slices(masks, other.grid).astype(np.uint8)
        )


def test_predict_reads_it_too(npz, tmp_path):
    image, label = anatomy()
    files = [tmp_path / "a.npz", tmp_path / "a_seg.npz", tmp_path / "b.nii.gz"]
    for file, array in zip(files, (image, label)):
        written(file, array, oriented("LPS"))
    save(files[2], image, oriented("LPS"))
    reading = Reading(16, None, "axial", "mr")
    one, other = (seen(read_scan(file, reading), reading) for file in files[::2])
    np.testing.assert_array_equal(one, other)
    support = read_support([parsed(f"{files[0]}:{files[1]}:2")], reading)
    assert support.examples.mask.any((1, 2)).all()
    options = Options(run=tmp_path, image=(files[0],), output=tmp_path / "out")
    assert [path.name for path in outputs(options, [])] == ["a.nii.gz"]


def test_what_is_told_of_endings_follows(npz, tmp_path):
    assert (case_stem("x/A.NPZ"), is_image("a.npz"), kinds()) == ("A", True, "NIfTI or NumPy")
    with pytest.raises(
        BadInput, match="a.txt: not a NIfTI or NumPy file by its name; .nii.gz, .nii and .npz are"
    ):
        case_stem("a.txt")
    with pytest.raises(BadInput, match="must end in .nii, .nii.gz or .npz"):
        outputs(Options(run=tmp_path, image=(touch(tmp_path, "e") / "e",), output=tmp_path), [])
    twice = touch(tmp_path / "d", "a.nii", "a.npz", "a_seg.nii")
    with pytest.raises(BadInput, match="a.nii: there is both a .nii and a .npz of it; remove one"):
        find_cases([twice], modality=["mr"])
    alone = find_cases([touch(tmp_path / "s", "a.npz", "a_seg.npz", "b.npz")], modality=["mr"])[1]
    assert "b.npz: no label b_seg.npz for this image" in alone[0][1]
    folder, pairs = touch(tmp_path / "p", "x_1.npz", "y_1.npz"), ("x_{id}.npz", "y_{id}")
    cases, _, _ = find_cases([folder], modality=["mr"], pairs=pairs)
    assert [case.image.name for case in cases] == ["x_1.npz"]


def test_channels_and_damage_are_told_as_of_nifti(npz, tmp_path):
    image, label = anatomy()
    several = written(tmp_path / "a.npz", np.stack([image, image + 1], -1), oriented("RAS"))
    assert shape_of(several) == (*image.shape, 2)
    np.testing.assert_array_equal(read_image(several, channel=1).values, image + 1)
    with pytest.raises(BadInput, match="a.npz: holds 2 channels; choose with --channel 0 or 1"):
        read_image(several)
    moved = written(tmp_path / "m.npz", label, oriented("RAS") + np.eye(4, k=3))
    with pytest.raises(BadInput, match="m.npz: its affine differs from that of its image"):
        read_pair(written(tmp_path / "b.npz", image, oriented("RAS")), moved)
    (tmp_path / "c.npz").write_bytes(b"no archive")
    assert shape_of(tmp_path / "c.npz") == ()
    with pytest.raises(BadInput, match="c.npz: no archive of NumPy"):
        read_image(tmp_path / "c.npz")


def test_a_format_that_was_named_only_is_named_no_longer(tmp_path, monkeypatch):
    folder = touch(tmp_path / "d", "a.nii.gz", "a_seg.nii.gz", "deep/b.nrrd")
    assert ".nrrd file not read" in find_cases([folder], modality=["mr"])[2][0]
    monkeypatch.setitem(READERS, ".nrrd", Reader("NRRD", read, head))
    assert find_cases([folder], modality=["mr"])[2] == []
