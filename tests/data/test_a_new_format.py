"""A format is one file and one line of `READERS`: two that only this test knows are prepared, one
of files and one, as DICOM is, of folders that hold a file for each slice."""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from jaxmeta.data.cases import find_cases
from jaxmeta.data.formats.formats import READERS, case_stem, is_image, kinds
from jaxmeta.data.formats.image import read_image, read_pair, shape_of
from jaxmeta.data.formats.nifti import header_for, save_mask
from jaxmeta.data.formats.reader import Head, Raw, Reader
from jaxmeta.data.grid import from_slices
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
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


def read_series(folder, choose):
    files = sorted(folder.glob("*.slice"))
    stack = np.stack([np.frombuffer(file.read_bytes()[128:], "<i2") for file in files], -1)
    place = np.frombuffer(files[0].read_bytes()[:128]).reshape(4, 4)
    shape = head_of_series(folder).shape
    choose(shape)
    return Raw(stack.reshape(shape), 1.0, 0.0, place, header_for(shape, place))


def head_of_series(folder):
    files = sorted(folder.glob("*.slice"))
    lengths = np.frombuffer((folder / "lengths").read_bytes(), int)
    place = np.frombuffer(files[0].read_bytes()[:128]).reshape(4, 4)
    return Head((*map(int, lengths), len(files)), place)


def holds_series(folder):
    return any(file.suffix == ".slice" for file in folder.iterdir())


@pytest.fixture
def series(monkeypatch):
    """Let folders of slices, a file each, be a format that is read."""
    reader = Reader("slices", read_series, head_of_series, holds_series)
    monkeypatch.setitem(READERS, ".slice", reader)


def written_series(folder, values, affine):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "lengths").write_bytes(np.array(values.shape[:2]).tobytes())
    for number in range(values.shape[2]):
        data = values[..., number].astype("<i2").tobytes()
        (folder / f"{number:03}.slice").write_bytes(affine.tobytes() + data)
    return folder


@pytest.mark.parametrize("write, ending", [(written, ".npz"), (written_series, "")])
def test_a_folder_of_a_new_format_gives_what_its_nifti_gives(npz, series, tmp_path, write, ending):
    for number, codes in enumerate(("RAS", "PSR")):
        (image, label), affine = anatomy(seed=number), oriented(codes)
        for name, array in ((f"c{number}", image), (f"c{number}_seg", label)):
            write(tmp_path / f"new/belly/{name}{ending}", array, affine)
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


@pytest.mark.parametrize("write, ending", [(written, ".npz"), (written_series, "")])
def test_predict_reads_it_too(npz, series, tmp_path, write, ending):
    image, label = anatomy()
    files = [tmp_path / f"a{ending}", tmp_path / f"a_seg{ending}", tmp_path / "b.nii.gz"]
    for file, array in zip(files, (image, label)):
        write(file, array, oriented("LPS"))
    save(files[2], image, oriented("LPS"))
    reading = Reading(16, None, "axial", "mr")
    one, other = (seen(read_scan(file, reading), reading) for file in files[::2])
    np.testing.assert_array_equal(one, other)
    support = read_support([parsed(f"{files[0]}:{files[1]}:2")], reading)
    assert support.examples.mask.any((1, 2)).all()
    options = Options(run=tmp_path, image=(files[0],), output=tmp_path / "out")
    assert [path.name for path in outputs(options, [])] == ["a.nii.gz"]


def test_a_series_is_found_in_every_layout_and_its_files_in_none(series, tmp_path):
    affine = oriented("RAS")
    places = {
        "beside": ("t2", "t2_seg"),
        "two": ("images/p1", "labels/p1"),
        "deep": ("p1/scan", "p1/mask"),
        "masks": ("p1/mri", "p1/segmentations/liver"),
        "bids": ("sub-1/anat/sub-1_T1w", "derivatives/x/sub-1/anat/sub-1_label-liver_mask"),
    }
    for layout, names in places.items():
        for name, array in zip(names, anatomy(), strict=True):
            written_series(tmp_path / layout / name, array, affine)
        (case,), alone, _ = find_cases([tmp_path / layout], modality=["mr"])
        found = [
            path.relative_to(tmp_path / layout).as_posix() for path in (case.image, case.label)
        ]
        assert (found, alone) == ([*names], []), layout


def test_a_series_that_changed_is_prepared_again(series, tmp_path):
    image, label = anatomy()
    for name, array in (("a", image), ("a_seg", label)):
        written_series(tmp_path / "d" / name, array, oriented("RAS"))
    told = dict(modality=["mr"], workers=1)
    assert prepare([tmp_path / "d"], tmp_path / "shards", **told).reused == 0
    assert prepare([tmp_path / "d"], tmp_path / "shards", **told).reused == 1
    written_series(tmp_path / "d" / "a", image + 1, oriented("RAS"))
    assert prepare([tmp_path / "d"], tmp_path / "shards", **told).reused == 0


def test_of_folders_it_is_told_what_their_files_end_in(series, tmp_path):
    with pytest.raises(BadInput, match=r"not a NIfTI or slices file by its name; .*folders of .sl"):
        case_stem(tmp_path)
    written_series(tmp_path / "d/a", anatomy()[0], oriented("RAS"))
    touch(tmp_path / "d", "a.nii", "a_seg.nii")
    with pytest.raises(BadInput, match="there is both a .nii and a folder of it; remove one"):
        find_cases([tmp_path / "d"], modality=["mr"])
    with pytest.raises(BadInput, match="there is no such file"):
        outputs(Options(run=tmp_path, image=(tmp_path / "d",), output=tmp_path), [])
    a, b = (str(tmp_path / name) for name in ("d/a", "d/a.nii"))
    assert parsed(f"{a}:{b}:3") == (Path(a), Path(b), 3) and parsed(f"{b}:{a}")[2] is None


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
    with pytest.raises(BadInput, match="a.npz: holds 2 channels; choose with `channel` 0 or 1"):
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
