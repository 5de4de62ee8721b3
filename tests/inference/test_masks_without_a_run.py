"""Masks without a run: from five labelled slices in files to masks in files."""

import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from jaxmeta.errors import BadInput
from jaxmeta.inference import Volume, segment
from jaxmeta.inference.options import Options
from jaxmeta.inference.predict import predict
from tests.helpers.scans import oriented, save

SHAPE, ZOOMS = (56, 60, 14), (1.5, 1.5, 5.0)


def patient(seed, shape=SHAPE):
    """Draw a body on air with two organs: (image as MR has it, label 0 to 2)."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    x, y = x - rng.uniform(-0.05, 0.05), y - rng.uniform(-0.05, 0.05)
    image = np.where((x / 0.8) ** 2 + (y / 0.7) ** 2 < 1, 300.0, 20.0)
    label = np.zeros(shape, np.uint8)
    for value, (a, b, r, bright) in enumerate([(-0.35, 0.1, 0.3, 600), (0.4, -0.1, 0.22, 480)], 1):
        organ = ((x - a) / r) ** 2 + ((y - b) / r) ** 2 + (z / 0.7) ** 2 < 1
        image[organ], label[organ] = bright, value
    image = gaussian_filter(image, 0.5) + 12 * rng.normal(size=shape)
    return np.clip(image, 0, None).astype(np.int16), label


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("patients")
    for number in range(3):
        image, label = patient(number)
        affine = oriented("RAS", SHAPE, ZOOMS)
        save(root / f"image_{number}.nii.gz", image, affine)
        save(root / f"label_{number}.nii.gz", label, affine)
    return root


def asked(folder, output, *images, value=":1", shots=5, **more):
    support = (f"{folder}/image_0.nii.gz:{folder}/label_0.nii.gz{value}",)
    paths = tuple(folder / f"image_{n}.nii.gz" for n in images)
    more.setdefault("image", paths)
    return Options(output=output, support=support, shots=shots, **more)


def mask(path):
    return np.asarray(nib.load(path).dataobj)


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_new_patients_have_masks_on_their_own_grids(folder, tmp_path, capsys):
    paths = predict(asked(folder, tmp_path, 0, 1, 2))
    out = capsys.readouterr().out
    for number, path in enumerate(paths):
        truth = mask(folder / f"label_{number}.nii.gz") == 1
        assert dice(mask(path) == 1, truth) > (0.9 if number == 0 else 0.85)
        image = nib.load(folder / f"image_{number}.nii.gz")
        np.testing.assert_allclose(nib.load(path).affine, image.affine)
    assert "mr, 14 axial slices of 56 x 60 pixels, 5 mm apart" in out
    assert "without any training" in out and "compiling" not in out


def test_several_structures_never_overlap_and_have_probabilities(folder, tmp_path):
    more = dict(value="", structures=(1, 2), probabilities=True)
    (path,) = predict(asked(folder, tmp_path, 1, **more))
    truth = mask(folder / "label_1.nii.gz")
    for value in (1, 2):
        assert dice(mask(path) == value, truth == value) > 0.8
        probability = mask(tmp_path / f"image_1_prob_{value}.nii.gz")
        assert probability.min() >= 0 and probability.max() <= 1
        assert (probability[mask(path) == value] > 0.5).all()


@pytest.mark.parametrize("scale, offset", [(3, 0), (1, 500), (0.5, 100)])
def test_scale_and_offset_of_a_scan_change_nothing(folder, tmp_path, scale, offset):
    (plain,) = predict(asked(folder, tmp_path / "plain", 1))
    image = nib.load(folder / "image_1.nii.gz")
    values = np.asarray(image.dataobj).astype(np.float32) * scale + offset
    other = save(tmp_path / "other.nii.gz", values, image.affine)
    (path,) = predict(asked(folder, tmp_path / "other", image=(other,)))
    assert dice(mask(plain) == 1, mask(path) == 1) > 0.99


@pytest.mark.parametrize("codes", ["LPS", "ASL", "PIR"])
def test_however_a_scan_is_stored_its_mask_lies_in_the_same_place(folder, tmp_path, codes):
    image, _ = patient(1)
    order = nib.orientations.ornt_transform(
        nib.orientations.axcodes2ornt("RAS"), nib.orientations.axcodes2ornt(codes)
    )
    there = nib.load(folder / "image_1.nii.gz").as_reoriented(order)
    turned = save(tmp_path / "turned.nii.gz", np.asarray(there.dataobj), there.affine)
    (path,) = predict(asked(folder, tmp_path / "masks", image=(turned,)))
    back = nib.as_closest_canonical(nib.load(path))
    (plain,) = predict(asked(folder, tmp_path / "plain", 1))
    np.testing.assert_array_equal(np.asarray(back.dataobj), mask(plain))


def test_what_is_unlike_the_support_is_told(folder, tmp_path, capsys):
    image, _ = patient(1)
    wide = save(tmp_path / "wide.nii.gz", image, oriented("RAS", SHAPE, (4.0, 4.0, 5.0)))
    flat = save(tmp_path / "flat.nii.gz", image, oriented("RSA", SHAPE, (1.5, 5.0, 1.5)))
    ct = save(tmp_path / "ct.nii.gz", (image.astype(int) - 1000).astype(np.int16))
    predict(asked(folder, tmp_path / "masks", image=(wide, flat, ct)))
    told = capsys.readouterr().err
    assert f"warning: {wide}: its field of view is" in told
    assert f"warning: {wide}: its pixel is 4 x 4 mm, and the support's is 1.5 x 1.5 mm" in told
    assert f"warning: {flat}: its slices are coronal, and the support's are axial" in told
    assert f"warning: {ct}: by its values it is CT in HU, and is read as mr" in told


@pytest.mark.parametrize(
    "more, message",
    [
        (dict(value=":7"), "label_0.nii.gz: no voxel is equal to 7"),
        (dict(shots=99), "`shots=99`: the support has"),
    ],
)
def test_a_support_that_cannot_be_used_is_told_in_one_line(folder, tmp_path, more, message):
    with pytest.raises(BadInput, match=message):
        predict(asked(folder, tmp_path / "masks", 1, **more))
    assert not list(tmp_path.glob("masks/*.nii.gz"))


def test_to_point_needs_a_run(folder, tmp_path):
    image = (folder / "image_1.nii.gz",)
    with pytest.raises(BadInput, match="`box` and `click` need a `run`"):
        predict(Options(image=image, output=tmp_path, click=("1,2,3",)))


@pytest.mark.parametrize("what", ["one slice", "one query slice", "filled"])
def test_poor_input_ends_in_a_mask(folder, tmp_path, what):
    image, _ = patient(1)
    affine, shots = oriented("RAS", SHAPE, ZOOMS), 5
    if what == "one slice":
        shots = 1
    if what == "one query slice":
        image = image[:, :, 6:7]
        affine = oriented("RAS", image.shape, ZOOMS)
    query = save(tmp_path / "query.nii.gz", image, affine)
    if what == "filled":
        full = save(
            tmp_path / "full.nii.gz", np.ones(SHAPE, np.uint8), oriented("RAS", SHAPE, ZOOMS)
        )
        support = (f"{folder}/image_0.nii.gz:{full}",)
        (path,) = predict(Options(image=(query,), output=tmp_path / "masks", support=support))
    else:
        (path,) = predict(asked(folder, tmp_path / "masks", image=(query,), shots=shots))
    assert mask(path).shape == image.shape
    if what == "one query slice":  # which has no height: it is taken for one that was labelled
        assert 0 < mask(path).mean() < 0.5


def test_a_constant_image_is_refused_by_name(folder, tmp_path):
    path = save(tmp_path / "flat.nii.gz", np.full(SHAPE, 7, np.int16))
    with pytest.raises(BadInput, match="flat.nii.gz: every voxel has the value 7"):
        predict(asked(folder, tmp_path / "masks", image=(path,)))


def test_arrays_in_a_notebook_have_the_masks_of_files(folder, tmp_path):
    affine = oriented("RAS", SHAPE, ZOOMS)
    (image, label), (query, _) = patient(0), patient(1)
    (found,) = segment(None, [Volume(query, affine)], [(Volume(image, affine), label, 1)], shots=5)
    (path,) = predict(asked(folder, tmp_path, 1))
    np.testing.assert_array_equal(found, mask(path))


def test_nothing_that_trains_is_imported(folder, tmp_path):
    """So that the first mask is there in seconds."""
    code = (
        "import sys; from jaxmeta.commands.predict import main\n"
        "main(); heavy = {'optax', 'flax', 'orbax', 'grain'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    pair = f"{folder}/image_0.nii.gz:{folder}/label_0.nii.gz:1"
    words = ["--support", pair, "--image", str(folder / "image_1.nii.gz")]
    words += ["--output", str(tmp_path), "--shots", "5"]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert mask(tmp_path / "image_1.nii.gz").any()
