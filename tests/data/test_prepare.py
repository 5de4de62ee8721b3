"""Volumes become shards and come back: whole, the same each time, restartable, or refused."""

import json
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from jaxmeta.data.formats.image import read_image
from jaxmeta.data.formats.nifti import save_mask
from jaxmeta.data.grid import from_slices, sliced_shape, to_slices
from jaxmeta.data.masks import decode_mask, masks_of
from jaxmeta.data.orientation import AXES
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import holders, open_shards, structures
from jaxmeta.errors import BadInput
from tests.helpers.scans import anatomy, contents, oriented, real, save

ROOT = Path(__file__).resolve().parents[2]


@given(
    hnp.arrays(np.int64, (3, 6, 7), elements=st.sampled_from([0, 0, 0, 1, 2, 5])),
    st.sampled_from([1, 100, 20000]),
    st.sampled_from([None, {"a": (1,), "b": (2, 5)}, {"c": (5,)}]),
)
def test_masks_are_the_voxels_of_their_values(label, scale, names):
    """Whatever the size of the values: codes of five digits are as good as 1, 2, 3."""
    names = names and {name: tuple(v * scale for v in values) for name, values in names.items()}
    found, unnamed = masks_of(label * scale, names, "label_")
    there = {int(v) for v in np.unique(label * scale)} - {0}
    want = names or {f"label_{value}": (value,) for value in there}
    assert found.keys() == want.keys()
    assert set(unnamed) == (
        there - {v for values in names.values() for v in values} if names else set()
    )
    for name, values in want.items():
        volume = np.zeros(label.shape, np.uint8)
        for plane, pixels, record in found[name]:
            top, left, crop = decode_mask(record)
            volume[plane, top : top + crop.shape[0], left : left + crop.shape[1]] = crop
            assert pixels == crop.sum() > 0
        np.testing.assert_array_equal(volume, np.isin(label * scale, values))


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("codes", ["RAS", "LPS", "PSR", "IAL"])
def test_a_label_comes_back_voxel_for_voxel_on_its_own_grid(tmp_path, axis, codes):
    image, label = anatomy(values=(1, 4, 7))
    affine = oriented(codes)
    save(tmp_path / "in/a.nii.gz", image, affine, codes=(1, 3))
    save(tmp_path / "in/a_seg.nii.gz", label, affine)
    prepare(
        [tmp_path / "in"],
        tmp_path / "out",
        axis=axis,
        modality=["mr"],
        labels=["1=x", "4=y", "7=z"],
    )
    shards = open_shards([tmp_path / "out"])
    (volume,) = shards.volumes
    assert shards.defaults.axis == axis == volume.grid.axis
    total = sliced_shape(volume.grid)[0]
    back = np.zeros(label.shape, np.uint8)
    for name, value in zip("xyz", (1, 4, 7), strict=True):
        masks = load_masks(shards, 0, range(total), name)
        np.testing.assert_array_equal(masks.sum((1, 2)), volume.counts[name])
        back[from_slices(masks, volume.grid) > 0] = value
    save_mask(tmp_path / "mask.nii.gz", back, volume.grid)
    new, old = nib.load(tmp_path / "mask.nii.gz"), nib.load(tmp_path / "in/a.nii.gz")
    np.testing.assert_array_equal(np.asarray(new.dataobj), label)
    np.testing.assert_array_equal(new.affine, old.affine)
    assert new.header.get_zooms() == old.header.get_zooms()
    for field in ("qform_code", "sform_code", "xyzt_units"):
        assert new.header[field] == old.header[field]


def test_images_come_back_at_their_own_size(tmp_path):
    """Loaded at native size, undoing the normalization gives the file's own numbers."""
    rng = np.random.default_rng(0)
    for name, image in [
        ("float", rng.normal(0, 1e-3, (20, 20, 6)).astype(np.float32)),
        ("wide", rng.integers(10**5, 10**6, (20, 20, 6)).astype(np.int32)),
        ("small", rng.integers(0, 200, (20, 20, 6)).astype(np.uint8)),
    ]:
        label = np.zeros(image.shape, np.uint8)
        label[3:9, 4:9] = 1
        save(tmp_path / f"in/{name}.nii.gz", image, slope=(0.5, 3) if name == "small" else None)
        save(tmp_path / f"in/{name}_seg.nii.gz", label)
    prepare([tmp_path / "in"], tmp_path / "out", modality=["mr"], workers=1)
    shards = open_shards([tmp_path / "out"])
    for number, volume in enumerate(shards.volumes):
        want = real(read_image(tmp_path / f"in/{volume.name.split('/')[1]}.nii.gz"))
        want = to_slices(want, volume.grid).clip(*volume.intensity[:2])
        seen = load_images(shards, number, [0, 5, 2], size=20)[..., 0]
        low, high, mean, std = volume.intensity
        np.testing.assert_allclose(seen * std + mean, want[[0, 5, 2]], atol=2e-4 * (high - low))


def test_the_index_says_who_holds_what(cohort, tmp_path):
    summary = prepare(cohort, tmp_path, size=32, workers=1)
    assert summary.datasets["belly"][:3] == (5, 5, 45)
    assert summary.datasets["heart"][:4] == (2, 4, 36, {"liver": 4})
    assert (summary.skipped, summary.notes, summary.reused) == ([], [], 0)
    shards = open_shards([tmp_path])
    assert structures(shards) == ["left_kidney", "liver"]
    assert {volume.dataset: volume.modality for volume in shards.volumes} == {
        "belly": "mr",
        "heart": "ct",
    }
    held = holders(shards, "liver")
    assert [len(volumes) for patient, volumes in sorted(held.items())] == [1] * 5 + [2] * 2
    for patient, volumes in held.items():
        for number, where in volumes:
            assert shards.volumes[number].patient == patient
            native = load_masks(shards, number, where, "liver")
            assert native.any((1, 2)).all()
            every = load_masks(shards, number, range(9), "liver")
            assert every.any((1, 2)).sum() == len(where)
    with pytest.raises(BadInput, match="no structure spleen.*known are left_kidney, liver"):
        holders(shards, "spleen")
    with pytest.raises(BadInput, match="has no labels of left_kidney"):
        load_masks(shards, 8, [0], "left_kidney")
    for load in (load_images, load_masks):
        with pytest.raises(IndexError, match="slices 0 to 8, not 9"):
            load(shards, 0, [9], *(["liver"] if load is load_masks else []), size=16)


def test_workers_and_timing_do_not_change_a_byte(cohort, tmp_path):
    """Nor do copies elsewhere, with other dates, given in another order."""
    small = {"part_bytes": 1, "file_bytes": 20_000}
    prepare(cohort, tmp_path / "one", workers=1, **small)
    prepare(cohort, tmp_path / "two", workers=2, **small)
    subprocess.run(["cp", "-r", *cohort, tmp_path], check=True)
    prepare([tmp_path / "heart", tmp_path / "belly"], tmp_path / "three", workers=1, **small)
    one = contents(tmp_path / "one")
    assert one == contents(tmp_path / "two") == contents(tmp_path / "three")
    assert sum(name.endswith("array_record") for name in one) == 9
    prepare(cohort, tmp_path / "four", workers=1, part_bytes=1, file_bytes=3000)
    files = [n for n in contents(tmp_path / "four") if n.endswith("array_record")]
    assert len(files) > 2 * 9, "a file may not hold more than its limit"
    shards, other = open_shards([tmp_path / "one"]), open_shards([tmp_path / "four"])
    for number in range(9):
        np.testing.assert_array_equal(
            *(load_images(s, number, range(9), size=16) for s in (shards, other))
        )


def test_shards_that_cannot_be_read_say_why(cohort, tmp_path):
    with pytest.raises(BadInput, match="not a folder of shards; run `jaxmeta prepare` `output="):
        open_shards([tmp_path])
    prepare(cohort, tmp_path / "new", workers=1)
    prepare(cohort, tmp_path / "side", workers=1, axis="coronal")
    with pytest.raises(BadInput, match="sliced coronal, but .* acquired"):
        open_shards([tmp_path / "new", tmp_path / "side"])
    with pytest.raises(BadInput, match="belly/case0 is in two"):
        open_shards([tmp_path / "new", tmp_path / "new"])
    index = json.loads((tmp_path / "new/index.json").read_text())
    (tmp_path / "new/index.json").write_text(json.dumps(index | {"format": 0}))
    with pytest.raises(BadInput, match="shards of format 0, this program reads format 2"):
        open_shards([tmp_path / "new"])
    (tmp_path / "new/index.json").unlink()
    with pytest.raises(BadInput, match="unfinished"):
        open_shards([tmp_path / "new"])
    for part in (tmp_path / "side").glob("*.array_record"):
        part.unlink()
    with pytest.raises(BadInput, match="in the index but not there"):
        load_images(open_shards([tmp_path / "side"]), 0, [0], size=8)


def test_shards_travel_to_other_processes_and_are_read_by_many_threads(cohort, tmp_path):
    prepare(cohort, tmp_path, workers=1)
    shards = open_shards([tmp_path])
    want = [load_images(shards, n % 9, [n % 7, 3], size=16) for n in range(200)]
    again = pickle.loads(pickle.dumps(shards))
    with ThreadPoolExecutor(8) as pool:
        read = pool.map(lambda n: load_images(again, n % 9, [n % 7, 3], size=16), range(200))
        for one, other in zip(want, read, strict=True):
            np.testing.assert_array_equal(one, other)


def test_reading_shards_does_not_need_jax():
    code = "import jaxmeta.data.shards.prepare, sys; assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
