"""The phantom cohort: what it promises about its files, its organs and its fairness."""

import json

import nibabel as nib
import numpy as np
import pytest

from jaxmeta.phantoms.shapes import FAMILIES
from jaxmeta.phantoms.write import COHORT, PHANTOM_SPLIT, write_phantoms


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return write_phantoms(tmp_path_factory.mktemp("phantoms") / "cohort", seed=3)


@pytest.fixture(scope="module")
def cohort(folders):
    """Data set -> list of (image file, label file, canonical label array)."""
    found = {}
    for folder in folders:
        images = sorted((folder / "imagesTr").iterdir())
        labels = [folder / "labelsTr" / image.name for image in images]
        found[folder.name] = [(i, k, canonical(k)) for i, k in zip(images, labels, strict=True)]
    return found


def canonical(path):
    return np.asarray(nib.as_closest_canonical(nib.load(path)).dataobj)


def families(phase):
    return {name.rsplit("_", 1)[0] for name in PHANTOM_SPLIT[phase]}


def test_the_same_seed_writes_the_same_bytes_and_another_seed_others(tmp_path):
    few = {"train": 2, "val": 2, "test": 2}
    one, same, other = (
        write_phantoms(tmp_path / name, seed=seed, patients=few)
        for name, seed in (("one", 5), ("same", 5), ("other", 6))
    )
    for a, b, c in zip(one, same, other, strict=True):
        files = [f.relative_to(a) for f in sorted(a.rglob("*.nii.gz"))]
        assert len(files) == 4
        assert all((a / f).read_bytes() == (b / f).read_bytes() for f in files)
        assert all((a / f).read_bytes() != (c / f).read_bytes() for f in files)


def test_a_cohort_that_is_there_is_left_alone_and_another_replaces_it(tmp_path):
    few = {"train": 1, "val": 1, "test": 1}
    image = write_phantoms(tmp_path / "cohort", patients=few)[0] / "imagesTr/phantom_a_001.nii.gz"
    written = image.stat().st_mtime_ns
    write_phantoms(tmp_path / "cohort", patients=few)
    assert image.stat().st_mtime_ns == written
    write_phantoms(tmp_path / "cohort", seed=1, patients=few)
    assert image.stat().st_mtime_ns != written
    assert [entry.name for entry in tmp_path.iterdir()] == ["cohort"]


def test_a_broken_write_leaves_nothing_that_reads_as_a_cohort(tmp_path, monkeypatch):
    def full_disk(*_):
        raise OSError("disk full")

    monkeypatch.setattr("jaxmeta.phantoms.write.nib.save", full_disk)
    with pytest.raises(OSError, match="disk full"):
        write_phantoms(tmp_path / "cohort")
    assert list(tmp_path.iterdir()) == []


def test_there_are_enough_data_sets_organs_and_patients(cohort):
    training = [name for name, (phase, _, _) in COHORT.items() if phase == "train"]
    assert len(training) >= 3
    assert sum(len(cohort[name]) for name in training) >= 24
    assert sum(map(len, PHANTOM_SPLIT.values())) >= 16
    assert len(PHANTOM_SPLIT["val"]) >= 3
    for phase in PHANTOM_SPLIT:
        assert {m for p, m, _ in COHORT.values() if p == phase} == {"ct", "mr"}


def test_phases_share_no_organ_and_no_shape_family():
    for a, b in (("train", "val"), ("train", "test"), ("val", "test")):
        assert not set(PHANTOM_SPLIT[a]) & set(PHANTOM_SPLIT[b])
        assert not families(a) & families(b)
    assert set().union(*map(families, PHANTOM_SPLIT)) <= set(FAMILIES)


def test_training_images_hold_no_shape_of_another_phase(tmp_path, monkeypatch):
    """Draw the training data sets, distractors too, without the shapes of the other phases."""
    for family in families("val") | families("test"):
        monkeypatch.delitem(FAMILIES, family)
    training = {name: entry for name, entry in COHORT.items() if entry[0] == "train"}
    monkeypatch.setattr("jaxmeta.phantoms.write.COHORT", training)
    assert len(write_phantoms(tmp_path / "cohort", patients={"train": 2})) == len(training)


def test_every_organ_has_a_sane_size_in_every_patient_of_its_set(cohort, folders):
    for folder in folders:
        description = json.loads((folder / "dataset.json").read_text())
        assert description["modality"]["0"] in ("CT", "MRI")
        assert (
            description["numTraining"] == len(description["training"]) == len(cohort[folder.name])
        )
        organs = {int(v): name for v, name in description["labels"].items() if v != "0"}
        for _, _, label in cohort[folder.name]:
            assert set(np.unique(label)) == {0, *organs}
            for value in organs:
                mask = label == value
                slices = mask.any(axis=(0, 1)).sum()
                share = mask.sum() / mask.any(axis=(0, 1)).sum() / mask[..., 0].size
                assert 5 <= slices <= label.shape[2]
                assert 0.004 < share < 0.12


def test_image_and_label_agree_on_geometry_and_both_forms_are_readable(cohort):
    for image, label, _ in (case for cases in cohort.values() for case in cases):
        scan, mask = nib.load(image), nib.load(label)
        assert scan.shape == mask.shape
        np.testing.assert_array_equal(scan.affine, mask.affine)
        assert np.isfinite(scan.get_fdata()).all()
        spacing = np.sqrt((scan.affine[:3, :3] ** 2).sum(0))
        np.testing.assert_allclose(spacing, scan.header.get_zooms(), rtol=1e-4)
        assert abs(np.linalg.det(scan.affine[:3, :3])) > 1
        assert scan.header.get_xyzt_units()[0] == "mm"


def test_orientation_spacing_codes_and_types_vary_between_patients(cohort):
    scans = [nib.load(image) for cases in cohort.values() for image, _, _ in cases]
    assert len({nib.aff2axcodes(scan.affine) for scan in scans}) >= 16
    assert len({scan.header.get_zooms() for scan in scans}) == len(scans)
    assert len({(int(s.header["qform_code"]), int(s.header["sform_code"])) for s in scans}) == 4
    assert {s.get_data_dtype().name for s in scans} == {"int16", "float32"}
    assert len({scan.dataobj.inter for scan in scans}) > 1
    assert len({scan.dataobj.slope for scan in scans}) > 1


def test_ct_is_in_hounsfield_units_and_mr_is_not(cohort):
    for name, cases in cohort.items():
        for image, _, _ in cases:
            air, top = np.percentile(nib.load(image).get_fdata(), [1, 99.5])
            if COHORT[name][1] == "ct":
                assert -1100 < air < -900 and 60 < top < 400
            else:
                assert 0 <= air and top > 150


def test_the_body_is_not_left_right_symmetric(cohort):
    for cases in cohort.values():
        overlaps = [
            ((label == label[::-1]) & (label > 0)).sum() / (label > 0).sum()
            for _, _, label in cases
        ]
        assert np.mean(overlaps) < 0.5


def test_the_copied_mask_is_a_poor_answer(cohort):
    """Dice of another patient's mask, brought to one matrix, as a mean over a phase's organs."""
    scores = {phase: [] for phase in PHANTOM_SPLIT}
    for name, cases in cohort.items():
        labels = [at_48(label) for _, _, label in cases]
        for value in range(1, len(COHORT[name][2]) + 1):
            masks = [label == value for label in labels]
            pairs = [dice(a, b) for a in masks for b in masks if a is not b]
            scores[COHORT[name][0]].append(np.mean(pairs))
    for phase, values in scores.items():
        assert np.mean(values) < 0.4, phase


def test_no_window_of_intensities_finds_an_organ(cohort):
    """The best of all intervals, chosen with the truth for all patients of a set together.

    Below 0.5 as a mean over a phase's organs, as every score of the demo is.
    """
    scores = {phase: [] for phase in PHANTOM_SPLIT}
    for name, cases in cohort.items():
        values = [normalized(image, COHORT[name][1]) for image, _, _ in cases]
        for organ in range(1, len(COHORT[name][2]) + 1):
            best = best_window(values, [label == organ for _, _, label in cases])
            scores[COHORT[name][0]].append(best)
    assert max(scores["test"]) < 0.55
    for phase, values in scores.items():
        assert np.mean(values) < 0.5, phase


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def at_48(label):
    index = [((np.arange(48) + 0.5) * n / 48).astype(int) for n in label.shape[:2]]
    return label[np.ix_(*index)]


def normalized(path, modality):
    image = nib.as_closest_canonical(nib.load(path)).get_fdata()
    if modality == "ct":
        return np.clip((image + 160) / 400, 0, 1)
    low, high = np.percentile(image, [40, 99.5])
    return np.clip((image - low) / (high - low), 0, 1)


def best_window(values, masks, bins=40):
    """Pooled Dice of every interval of histogram bins, from cumulative counts."""
    inside = sum(np.histogram(v[m], bins, (0, 1))[0] for v, m in zip(values, masks, strict=True))
    everywhere = sum(np.histogram(v, bins, (0, 1))[0] for v in values)
    hit, taken = np.r_[0, np.cumsum(inside)], np.r_[0, np.cumsum(everywhere)]
    both, said = hit[None] - hit[:, None], taken[None] - taken[:, None]
    return (2 * both / np.maximum(said + inside.sum(), 1)).max()
