"""Every folder of real scans that developers keep beside the checkout is prepared and comes
back."""

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import center_of_mass

from jaxmeta.data.cases import find_cases
from jaxmeta.data.formats.image import read_image, read_label
from jaxmeta.data.formats.nifti import save_mask
from jaxmeta.data.grid import from_slices, restore, sliced_shape, to_slices
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import Shards, holders, open_shards

FOLDERS = {  # folder -> (what must be told, patients, volumes, structures)
    "CHAOS_T2SPIR": ({}, 10, 10, 4),
    "Task04_Hippocampus": ({}, 60, 60, 2),
    "ACDC": ({}, 6, 12, 3),
    "LA2018": ({}, 20, 20, 1),
    "TotalSegmentator_examples": ({"modality": ["ct_*=ct", "mr_*=mr"]}, 2, 2, 61 + 23),
    "CT_spleen_crop": ({"modality": ["ct"], "labels": ["1=spleen"]}, 1, 1, 1),
    "Spinal_cord_MR": (
        {"modality": ["mr"], "labels": ["1=cord", "*gmseg*:1=grey matter"]},
        3,
        3,
        2,
    ),
    "Brain_T1": ({"modality": ["mr"]}, 1, 1, 45),
}


@pytest.fixture(scope="module")
def prepared(scans, tmp_path_factory):
    """Prepare a folder once: name -> shards."""
    root, there = tmp_path_factory.mktemp("real"), {}

    def of(folder: str) -> Shards:
        if folder not in there:
            told, patients, volumes, structures = FOLDERS[folder]
            summary = prepare([scans / folder], root / folder, workers=2, **told)
            (counts,) = summary.datasets.values()
            assert (counts.patients, counts.volumes) == (patients, volumes)
            assert len(counts.structures) == structures
            assert not summary.skipped
            assert all("volumes differ" in note for note in summary.notes)  # as a T1 and a T2* do
            there[folder] = open_shards([root / folder])
        return there[folder]

    return of


@pytest.mark.slow
@pytest.mark.parametrize("folder", FOLDERS)
def test_at_native_size_every_label_comes_back_voxel_for_voxel(scans, prepared, tmp_path, folder):
    shards = prepared(folder)
    cases = {case.name: case for case in find_cases([scans / folder], **FOLDERS[folder][0])[0]}
    for number, volume in enumerate(shards.volumes):
        case = cases[volume.name]
        label, back = read_label(case.label), np.zeros(volume.grid.shape, np.int32)
        for structure in volume.counts:
            masks = load_masks(shards, number, range(sliced_shape(volume.grid)[0]), structure)
            last = structure.rsplit("_", 1)[-1]
            values = case.names[structure] if case.names else (int(last),)
            back[from_slices(masks, volume.grid) > 0] = values[0]
        save_mask(tmp_path / "mask.nii.gz", back, volume.grid)
        saved, image = nib.load(tmp_path / "mask.nii.gz"), nib.load(case.image)
        np.testing.assert_array_equal(np.asarray(saved.dataobj), label)
        np.testing.assert_array_equal(saved.affine, image.affine)
        assert saved.header.get_zooms() == image.header.get_zooms()
        for field in ("qform_code", "sform_code", "xyzt_units"):
            assert saved.header[field] == image.header[field]


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["CHAOS_T2SPIR", "ACDC", "LA2018", "CT_spleen_crop"])
def test_at_128_pixels_masks_stay_whole_and_in_place(prepared, folder):
    """Against plain nearest-pixel resize and back; the center within a tenth of one of 128
    pixels."""
    shards = prepared(folder)
    for structure in shards.table:
        ours, plain, moved = [], [], []
        for volumes in holders(shards, structure).values():
            for number, _ in volumes:
                grid = shards.volumes[number].grid
                total, *plane = sliced_shape(grid)
                native = load_masks(shards, number, range(total), structure)
                small = load_masks(shards, number, range(total), structure, size=128)
                back = restore(small, grid) >= 0.5
                ours.append(overlap(back, native))
                plain.append(overlap(nearest(nearest(native, (128, 128)), plane), native))
                shift = np.subtract(center_of_mass(back), center_of_mass(native))[1:]
                moved.append(shift * 128 / np.array(plane))
        assert np.mean(ours) >= np.mean(plain) - 0.005, structure
        assert min(np.subtract(ours, plain)) > -0.005, structure
        assert np.abs(np.mean(moved, 0)).max() < 0.1, structure


def overlap(one, other):
    return 2 * (one & (other > 0)).sum() / (one.sum() + other.sum())


def nearest(masks, plane):
    """Resize by picking the nearest pixel."""
    rows, columns = (
        np.minimum(((np.arange(n) + 0.5) * old / n).astype(int), old - 1)
        for n, old in zip(plane, masks.shape[1:], strict=True)
    )
    return masks[:, rows][:, :, columns] > 0


def test_z_scored_scans_with_negative_values_keep_their_contrast(prepared, scans):
    """LA2018: the background is -763, zero an ordinary grey, and the atrium brighter than most."""
    shards = prepared("LA2018")
    for number, volume in enumerate(shards.volumes[:4]):
        stored = read_image(scans / "LA2018/imagesTr" / f"{volume.name.split('/')[1]}.nii.gz")
        assert stored.values.min() < -500
        assert volume.intensity.low < 0 < volume.intensity.high
        (_, where), *_ = holders(shards, "left_atrium")[volume.patient]
        seen = load_images(shards, number, where, size=128)[..., 0]
        mask = load_masks(shards, number, where, "left_atrium", size=128) > 0
        assert 0.7 < seen.std() < 1.4 and np.abs(seen).max() < 6
        assert seen[mask].mean() > seen[~mask].mean() + 0.5
        native = to_slices(stored.values, volume.grid)
        share = ((native > volume.intensity.low) & (native < volume.intensity.high)).mean()
        assert share > 0.8


def test_a_liver_is_where_canonical_orientation_says(prepared):
    """CHAOS is stored LAS: in RAS+ slices the liver lies right (large row) of the spleen."""
    shards = prepared("CHAOS_T2SPIR")
    for number, volume in enumerate(shards.volumes):
        total = range(sliced_shape(volume.grid)[0])
        row = {
            organ: center_of_mass(load_masks(shards, number, total, organ))[1]
            for organ in ("liver", "spleen", "right_kidney", "left_kidney")
        }
        assert row["liver"] > row["spleen"] and row["right_kidney"] > row["left_kidney"]


def test_a_data_set_told_as_bids_is_the_same_data_set(scans, prepared, tmp_path):
    """Files keep their bytes, and structures and patients their voxels, under another layout."""
    shards = prepared("CHAOS_T2SPIR")
    folder, home = tmp_path / "chaos", tmp_path / "chaos/derivatives/hand"
    for number, case in enumerate(find_cases([scans / "CHAOS_T2SPIR"])[0]):
        for place, file, ending in ((folder, case.image, "T2w"), (home, case.label, "dseg")):
            name = f"sub-{number:02d}/ses-1/anat/sub-{number:02d}_ses-1_{ending}.nii.gz"
            (place / name).parent.mkdir(parents=True)
            (place / name).symlink_to(file.resolve())
    rows = [f"{values[0]}\t{name}\n" for name, values in case.names.items()]
    (home / "dseg.tsv").write_text("index\tname\n0\tbackground\n" + "".join(rows))
    prepare([folder], tmp_path / "out", workers=1)
    same = open_shards([tmp_path / "out"])
    assert [v.patient for v in same.volumes] == [f"chaos/sub-{n:02d}" for n in range(10)]
    for one, other in zip(shards.volumes, same.volumes, strict=True):
        assert one.intensity == other.intensity and one.modality == other.modality
        for structure, counts in other.counts.items():
            np.testing.assert_array_equal(counts, one.counts[structure])
