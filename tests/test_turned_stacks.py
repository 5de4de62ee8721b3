"""Stacks of real scans turned, tilted and stored in every way give the masks of the unturned ones.

A patient is turned by an affine (an axial stack becomes a short-axis, a coronal or a sagittal one),
and the file is stored in another of 48 orientations: the same voxels were acquired, so the same
masks are found, voxel for voxel.
"""

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from jaxmeta.commands import test
from jaxmeta.data.grid import sliced_shape
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.inference.predict import Options, predict
from jaxmeta.methods.networks.unet import Unet
from jaxmeta.methods.options import Episodes
from jaxmeta.runs.config import Config
from jaxmeta.runs.train import meta_train
from tests.data.test_orientation import STORED, TURNS

# Between the planes, as the short axis of a heart lies: each patient is nearer to another of them.
SHORT_AXIS = Rotation.from_euler("zyx", (45, 0, 30), degrees=True).as_matrix()
TURNS = TURNS | {"short axis": SHORT_AXIS @ TURNS["coronal"]}
LABELS = ("1=right_ventricle", "2=myocardium", "3=left_ventricle")


def write_turned(
    source: Path, folder: Path, cases: list[str], turn: str, seed: int, tilt: float = 8.0
):
    """Write images and labels of cases turned alike, each tilted and stored in its own way.

    48 seeds store every case in all orientations. Returns for each case where the voxels of the
    source's array are in the new one.
    """
    rng, places = np.random.default_rng(seed), {}
    for number, case in enumerate(cases):
        tilted = Rotation.from_rotvec(rng.normal(size=3) * np.deg2rad(tilt) / 2).as_matrix()
        ornt = STORED[(seed + 11 * number) % len(STORED)]
        matrix = np.eye(4)
        matrix[:3, :3] = tilted @ TURNS[turn]
        for part in ("imagesTr", "labelsTr"):
            image = nib.load(source / part / f"{case}.nii.gz")
            (folder / part).mkdir(parents=True, exist_ok=True)
            whole = nib.Nifti1Image(np.asarray(image.dataobj), matrix @ image.affine)
            nib.save(whole.as_reoriented(ornt), folder / part / f"{case}.nii.gz")
        numbers = np.arange(np.prod(image.shape)).reshape(image.shape)
        moved = nib.Nifti1Image(numbers.astype(np.int32), np.eye(4)).as_reoriented(ornt)
        places[case] = np.asarray(moved.dataobj), image.shape
    return places


def unturned(mask: Path, places) -> np.ndarray:
    """Bring a mask back to the source's own array."""
    numbers, shape = places
    back = np.empty(shape, np.uint8)
    back.ravel()[numbers.ravel()] = np.asarray(nib.load(mask).dataobj).ravel()
    return back


def read_all(shards: Path) -> list:
    """Read what a network sees of all volumes, and their masks."""
    opened = open_shards([shards])
    seen = []
    for number, volume in enumerate(opened.volumes):
        every = range(sliced_shape(volume.grid)[0])
        masks = [load_masks(opened, number, every, name, size=32) for name in sorted(volume.counts)]
        seen.append((load_images(opened, number, every, size=32), *masks))
    return seen


@pytest.mark.slow
@pytest.mark.parametrize("data", ["ACDC", "CHAOS_T2SPIR"])
def test_a_network_sees_the_same_of_every_turn_and_orientation(scans, tmp_path, data):
    cases = sorted(path.name[:-7] for path in (scans / data / "labelsTr").iterdir())[:2]
    write_turned(scans / data, tmp_path / "straight", cases, "axial", 0, tilt=0.0)
    prepare([tmp_path / "straight"], tmp_path / "first", modality=["mr"], workers=1)
    expected = read_all(tmp_path / "first")
    for seed, turn in enumerate(
        sorted(TURNS) * 12
    ):  # each of 48 stacks is stored in a way of its own
        folder = tmp_path / f"turned{seed}"
        write_turned(scans / data, folder, cases, turn, seed + 1)
        prepare([folder], tmp_path / f"shards{seed}", modality=["mr"], workers=1)
        found = read_all(tmp_path / f"shards{seed}")
        for own, others in zip(found, expected, strict=True):
            for one, other in zip(own, others, strict=True):
                np.testing.assert_array_equal(one, other)


def trained(folder: Path, images: Path) -> Path:
    """Prepare, train and test on a folder of scans; return the run."""
    prepare([images], folder / "shards", modality=["mr"], labels=LABELS, workers=1)
    config = Config(
        data=(folder / "shards",),
        workdir=folder / "run",
        test_organs=("left_ventricle",),
        steps=2,
        checkpoint_every=2,
        tasks=Episodes(size=32, shots=2, queries=2, batch_size=2),
        network=Unet(widths=(4,), groups=2, output_bias=0.0),  # masks that are not empty
    )
    assert meta_train(config)
    test.test(test.Options(run=(config.workdir,), shots=(2,), support_sets=2, baselines="none"))
    return config.workdir


@pytest.mark.slow
def test_turned_stacks_are_segmented_as_the_unturned_are(scans, tmp_path):
    """Through prepare, train and test; and the unturned run predicts on turned files."""
    source = scans / "ACDC"
    cases = [path.name[:-7] for path in sorted((source / "labelsTr").glob("*_frame01*"))][:4]
    same = write_turned(source, tmp_path / "heart", cases, "axial", 0, tilt=0.0)
    run = trained(tmp_path / "straight", tmp_path / "heart")
    expected = {path.name: path for path in sorted((run / "predictions").iterdir())}
    assert expected and any(np.asarray(nib.load(path).dataobj).any() for path in expected.values())
    few = cases[:2]
    first = predicted(run, tmp_path / "heart", few, tmp_path / "masks")
    for seed, turn in enumerate(sorted(TURNS), 1):
        folder = tmp_path / turn.replace(" ", "_")
        places = write_turned(source, folder / "heart", cases, turn, seed)
        other = trained(folder, folder / "heart")
        found = {path.name: path for path in sorted((other / "predictions").iterdir())}
        assert found.keys() == expected.keys()
        for name, path in found.items():
            case = next(case for case in cases if case in name)
            one, reference = unturned(path, places[case]), unturned(expected[name], same[case])
            np.testing.assert_array_equal(one, reference)
        for name, path in predicted(run, folder / "heart", few, folder / "masks").items():
            np.testing.assert_array_equal(
                unturned(path, places[name]), unturned(first[name], same[name])
            )


def predicted(run: Path, images: Path, cases: list[str], output: Path) -> dict[str, Path]:
    """Segment the second case, shown the first."""
    shown, asked = (f"{case}.nii.gz" for case in cases)
    support = f"{images}/imagesTr/{shown}:{images}/labelsTr/{shown}:3"
    asked = (images / "imagesTr" / asked,)
    options = Options(image=asked, output=output, run=run, support=(support,), modality="mr")
    return dict(zip(cases[1:], predict(options), strict=True))
