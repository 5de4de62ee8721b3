"""`predict` on files of one's own: the test's own path, masks on the image's grid, one line a
mistake."""

import dataclasses
import gzip
import json
import shutil

import nibabel as nib
import numpy as np
import pytest

from jaxmeta.data.formats.nifti import save_mask
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from jaxmeta.inference.predict import predict
from jaxmeta.inference.run_reading import reading_for
from jaxmeta.inference.scan import Reading, read_scan, seen
from jaxmeta.inference.support import drawn_supports, parsed, read_support
from jaxmeta.runs.run import open_run
from jaxmeta.runs.setup import common
from tests.helpers.predicting import options, pair, whole_pair

READING = Reading(16, None, "axial", "mr", None)


@pytest.fixture(scope="module")
def shards(scanned):
    return open_shards([scanned / "shards"])


def test_a_scan_is_read_as_its_shards_are(scanned, shards):
    number = next(n for n, v in enumerate(shards.volumes) if v.name == "belly/case5")
    scan = read_scan(scanned / "belly" / "imagesTr" / "case5.nii.gz", READING)
    expected = load_images(shards, number, range(len(scan.values)), size=16)
    np.testing.assert_array_equal(seen(scan, READING), expected)
    assert scan.geometry.header == shards.volumes[number].grid.header


def test_a_support_is_read_as_its_shards_are(scanned, shards):
    number = next(n for n, v in enumerate(shards.volumes) if v.name == "belly/case0")
    support = read_support([parsed(pair(scanned))], READING)
    held = np.flatnonzero(shards.volumes[number].counts["spleen"])
    mask = load_masks(shards, number, held, "spleen", size=16)
    np.testing.assert_array_equal(support.examples.mask, mask)
    image = load_images(shards, number, held, size=16)
    np.testing.assert_array_equal(support.examples.image, image)
    few, *others = drawn_supports(support, 3, support_sets=3)
    assert few.slices == tuple(support.slices[n] for n in (1, 3, 5))
    (one,), (every,) = drawn_supports(support, 1), drawn_supports(support, len(support.place))
    assert one.slices == (support.slices[3],) and every.slices == support.slices
    assert len({other.slices for other in (few, *others)}) > 1
    assert all(len(set(other.slices)) == 3 for other in others)


def test_masks_have_the_grid_and_header_of_their_images(run, scanned, tmp_path):
    turned = tmp_path / "turned.nii.gz"
    scan = nib.load(scanned / "belly" / "imagesTr" / "case5.nii.gz")
    ornt = nib.orientations.axcodes2ornt(("P", "I", "R"))
    nib.save(scan.as_reoriented(ornt), turned)
    images = (scanned / "belly" / "imagesTr" / "case5.nii.gz", turned)
    masks = predict(options(run, scanned, image=images, output=tmp_path / "masks"))
    read = [nib.load(path) for path in masks]
    for mask, image in zip(read, map(nib.load, images), strict=True):
        assert mask.shape == image.shape
        np.testing.assert_array_equal(mask.affine, image.affine)
        assert mask.header["sform_code"] == image.header["sform_code"]
        assert set(np.unique(mask.dataobj)) <= {0, 1}
    same = read[0].as_reoriented(ornt)
    np.testing.assert_array_equal(np.asarray(same.dataobj), np.asarray(read[1].dataobj))
    left = sorted(path.name for path in (tmp_path / "masks").iterdir())
    assert left == ["case5.nii.gz", "overlay.png", "turned.nii.gz"]


def test_a_label_on_another_grid_is_refused(run, scanned, tmp_path):
    label = nib.load(scanned / "belly" / "labelsTr" / "case0.nii.gz")
    moved = nib.Nifti1Image(np.asarray(label.dataobj), np.diag([1.0, 1, 4, 1]))
    nib.save(moved, tmp_path / "moved.nii.gz")
    image = scanned / "belly" / "imagesTr" / "case0.nii.gz"
    with pytest.raises(BadInput, match="moved.nii.gz: its affine differs"):
        predict(options(run, scanned, support=(f"{image}:{tmp_path / 'moved.nii.gz'}:3",)))


def test_an_image_of_one_value_is_named(run, scanned, tmp_path):
    image = nib.load(scanned / "belly" / "imagesTr" / "case5.nii.gz")
    flat = nib.Nifti1Image(np.zeros(image.shape, np.int16), image.affine)
    nib.save(flat, tmp_path / "flat.nii.gz")
    with pytest.raises(BadInput, match="flat.nii.gz: every voxel has the value 0"):
        predict(options(run, scanned, image=(tmp_path / "flat.nii.gz",), output=tmp_path / "o"))


def test_a_support_that_shows_nothing_is_refused_and_its_values_are_listed(run, scanned):
    with pytest.raises(BadInput, match="no voxel is equal to 7.*0, 1, 2, 3"):
        predict(options(run, scanned, support=(pair(scanned, value=7),)))


def test_a_missing_file_is_refused_before_anything_is_done(run, scanned, tmp_path):
    with pytest.raises(BadInput, match="gone.nii.gz: there is no such file"):
        predict(options(run, scanned, image=(tmp_path / "gone.nii.gz",)))


def test_a_truncated_image_is_refused_and_leaves_no_mask(run, scanned, tmp_path):
    whole = (scanned / "belly" / "imagesTr" / "case5.nii.gz").read_bytes()
    assert gzip.decompress(whole)
    (tmp_path / "cut.nii.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadInput, match="cut.nii.gz: truncated"):
        predict(options(run, scanned, image=(tmp_path / "cut.nii.gz",), output=tmp_path / "out"))
    assert not list((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("text", ["a.nii.gz", "a.nii.gz:b.mha", "a.nii.gz:b.nii.gz:liver"])
def test_a_support_that_is_no_pair_is_refused(text):
    with pytest.raises(BadInput, match="write IMAGE.nii.gz:LABEL.nii.gz"):
        parsed(text)


def test_a_pair_may_have_colons_and_no_value():
    image, label, value = parsed("/a:b/c.nii:/d.nii.gz")
    assert (str(image), str(label), value) == ("/a:b/c.nii", "/d.nii.gz", None)


def test_an_image_is_never_written_over(run, scanned):
    folder = scanned / "belly" / "imagesTr"
    with pytest.raises(BadInput, match="is one of the inputs"):
        predict(options(run, scanned, output=folder))


@pytest.fixture(scope="module")
def channels(scanned, tmp_path_factory):
    """Case 5 as the second of two channels, in a data set that names them and in one that does
    not."""
    root = tmp_path_factory.mktemp("channels")
    scan = nib.load(scanned / "belly" / "imagesTr" / "case5.nii.gz")
    image = np.asarray(scan.dataobj)
    both = nib.Nifti1Image(np.stack([image.max() - image, image], -1), scan.affine, scan.header)
    label = (scanned / "belly" / "labelsTr" / "case5.nii.gz").read_bytes()
    for name in ("named", "bare"):
        for part in ("imagesTr", "labelsTr"):
            (root / name / part).mkdir(parents=True)
        nib.save(both, root / name / "imagesTr" / "case5.nii.gz")
        (root / name / "labelsTr" / "case5.nii.gz").write_bytes(label)
    about = json.loads((scanned / "belly" / "dataset.json").read_text())
    rows = [row for row in about["training"] if "case5" in row["image"]]
    about |= {"modality": {"0": "T1", "1": "T2"}, "training": rows}
    (root / "named" / "dataset.json").write_text(json.dumps(about))
    prepare([root / "named"], root / "shards", channel=["T2"], size=16, workers=1)
    return root


def test_a_run_reads_as_its_training_scans_were_unless_told_otherwise(run):
    trained = open_run(run)
    assert (trained.config.modality, trained.config.channel) == ("mr", "")
    other = trained._replace(config=dataclasses.replace(trained.config, channel="T2"))
    assert reading_for(other).channel == "T2"
    assert reading_for(other, channel="0").channel == "0"
    assert common(["T1", "T2"]) == common(["T1", None]) == "", "none is more right than another"
    both = trained._replace(config=dataclasses.replace(trained.config, modality=""))
    with pytest.raises(BadInput, match="learned from no one modality: say `modality=ct`"):
        reading_for(both)
    assert reading_for(both, modality="ct").modality == "ct"


def test_a_run_segments_where_its_training_data_is_not(run, scanned, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    path = tmp_path / "run" / "config.json"
    values = json.loads(path.read_text())
    values["config"]["data"] = ["/nowhere"]
    path.write_text(json.dumps(values))
    (mask,) = predict(options(tmp_path / "run", scanned, output=tmp_path / "there"))
    (known,) = predict(options(run, scanned, output=tmp_path / "here"))
    assert mask.read_bytes() == known.read_bytes()


def test_one_channel_of_several_is_predicted_like_a_file_of_its_own(
    run, scanned, channels, tmp_path, capsys
):
    alone = predict(options(run, scanned, output=tmp_path / "a"))
    image = channels / "named" / "imagesTr" / "case5.nii.gz"
    with pytest.raises(BadInput, match="case5.nii.gz: holds 2 channels; .* `channel` T1, T2 or"):
        predict(options(run, scanned, image=(image,), output=tmp_path / "b"))
    assert not (tmp_path / "b").exists(), "asked before the work, not behind it"
    capsys.readouterr()
    masks = predict(options(run, scanned, image=(image,), output=tmp_path / "b", channel="t2"))
    assert "reading channel t2 of 1 volume(s) that hold several" in capsys.readouterr().out
    one, other = (nib.load(path) for path in (*alone, *masks))
    np.testing.assert_array_equal(np.asarray(one.dataobj), np.asarray(other.dataobj))
    assert other.shape == one.shape and len(other.shape) == 3
    bare = channels / "bare" / "imagesTr" / "case5.nii.gz"
    told = options(run, scanned, image=(bare,), output=tmp_path / "c")
    with pytest.raises(BadInput, match="no channel T2; choose with `channel` 0 or 1$"):
        predict(dataclasses.replace(told, channel="T2"))
    with pytest.raises(BadInput, match="`channel=T2`: no image holds several channels"):
        predict(options(run, scanned, output=tmp_path / "d", channel="T2"))


def test_two_images_of_one_name_are_refused(run, scanned):
    images = tuple(scanned / name / "imagesTr" / "case1.nii.gz" for name in ("belly", "chest"))
    with pytest.raises(BadInput, match="two images would both be"):
        predict(options(run, scanned, image=images))


def test_more_shots_than_labelled_slices_are_refused(run, scanned):
    with pytest.raises(BadInput, match="`shots=99`: the support has 6 slices"):
        predict(options(run, scanned, shots=99))


def test_a_mask_that_cannot_be_written_leaves_nothing_behind(scanned, shards, tmp_path):
    grid = shards.volumes[0].grid
    (tmp_path / "taken.nii.gz").mkdir()
    with pytest.raises(IsADirectoryError):
        save_mask(tmp_path / "taken.nii.gz", np.zeros(grid.shape, np.uint8), grid)
    assert [path.name for path in tmp_path.iterdir()] == ["taken.nii.gz"]


def test_several_structures_make_one_mask_of_the_most_probable(run, scanned, tmp_path):
    """Each probability is that of the structure asked for alone, and the mask follows from them."""
    how = dict(shots=2, support_sets=2, probabilities=True)
    support = (whole_pair(scanned),)
    asked = options(run, scanned, support=support, structures=(3, 1), output=tmp_path / "a", **how)
    (path,) = predict(asked)
    labels = np.asarray(nib.load(path).dataobj)
    maps = {}
    for value in (1, 3):
        saved = nib.load(tmp_path / "a" / f"case5_prob_{value}.nii.gz")
        assert saved.get_data_dtype() == np.float32
        maps[value] = np.asarray(saved.dataobj)
        one = options(
            run, scanned, support=(f"{support[0]}:{value}",), output=tmp_path / f"{value}", **how
        )
        predict(one)
        alone = nib.load(tmp_path / f"{value}" / "case5_prob_1.nii.gz")
        np.testing.assert_allclose(maps[value], np.asarray(alone.dataobj), atol=0.02)
    wanted = np.where(maps[1] > maps[3], 1, 3) * (np.maximum(maps[1], maps[3]) > 0.5)
    np.testing.assert_array_equal(labels, wanted)


@pytest.mark.parametrize(
    "changes, told",
    [
        (dict(support=()), "is of meta-sgd, which has learned no organ yet"),
        (dict(support=(), structures=(1,)), "`structures`: it is for `support`"),
        (dict(box=("0,0,0,1,1,1",)), "give `support`, or `box`"),
        (dict(support=(), click_outside=("1,1,1",)), "alone shows no structure"),
        (dict(support=(), click=("1,1,1",), shots=2), "`shots`: it is for `support`"),
        (dict(support_sets=2), "`support_sets` needs `shots`"),
        (dict(structures=(1, 1)), "each once"),
        (dict(structures=(1, 2)), "leave VALUE out"),
        (dict(support_sets=0), "`support_sets=0`: must be at least 1"),
    ],
)
def test_what_does_not_go_together_is_refused(run, scanned, changes, told):
    with pytest.raises(BadInput, match=told):
        predict(options(run, scanned, **changes))


def test_without_a_run_and_a_support_nothing_says_what_is_meant(scanned):
    with pytest.raises(BadInput, match="give `support`, labelled slices; or a `run`"):
        predict(options("none", scanned, support=()))


def test_a_structure_too_small_to_be_seen_at_the_run_s_size_is_told_so(run, scanned, tmp_path):
    labels = nib.load(scanned / "belly" / "labelsTr" / "case0.nii.gz")
    dot = np.zeros(labels.shape, np.uint8)
    dot[1, 1, 4] = 1
    nib.save(nib.Nifti1Image(dot, labels.affine, labels.header), tmp_path / "dot.nii.gz")
    image = scanned / "belly" / "imagesTr" / "case0.nii.gz"
    with pytest.raises(BadInput, match="too small to be seen at the run's 16 pixels"):
        predict(options(run, scanned, support=(f"{image}:{tmp_path / 'dot.nii.gz'}",)))


def test_colors_are_refused_by_name(run, scanned, tmp_path):
    scan = nib.load(scanned / "belly" / "imagesTr" / "case5.nii.gz")
    colors = np.zeros(scan.shape, dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(colors, scan.affine), tmp_path / "colors.nii.gz")
    with pytest.raises(BadInput, match=r"voxels are colors \(R, G, B\)"):
        predict(options(run, scanned, image=(tmp_path / "colors.nii.gz",)))


def test_16_bit_voxels_are_read_as_they_are(run, scanned, tmp_path):
    """The same scan, 40000 grey values higher: nothing of it is cut off at 32767."""
    scan = nib.load(scanned / "belly" / "imagesTr" / "case5.nii.gz")
    values = np.asarray(scan.dataobj)
    lifted = (values.astype(int) - values.min() + 40000).astype(np.uint16)
    saved = nib.Nifti1Image(lifted, scan.affine)
    nib.save(saved, tmp_path / "case5.nii.gz")
    files = scanned / "belly" / "imagesTr" / "case5.nii.gz", tmp_path / "case5.nii.gz"
    slices, again = (seen(read_scan(file, READING), READING) for file in files)
    np.testing.assert_allclose(again, slices, atol=1e-3)
