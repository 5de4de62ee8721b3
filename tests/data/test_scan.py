"""However a scan comes, from its file or from shards, a network sees the same of it."""

import ast

import numpy as np
import pytest

import jaxmeta.inference.scan
from jaxmeta.data.formats.image import Image
from jaxmeta.data.grid import Grid, from_slices, grid_by, shown_frame, to_slices
from jaxmeta.data.intensity import CT
from jaxmeta.data.orientation import frame_to_text
from jaxmeta.data.scan import Scale, Scan, SlicePreprocessing, network_input, scan_of
from jaxmeta.data.shards.load import load_images, scan_in
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput, Unseen
from jaxmeta.inference.scan import Reading, read_scan, seen
from jaxmeta.inference.support import parsed, read_support
from tests.helpers.scans import SHAPE, anatomy, oriented, save
from tests.test_layout import MODULES

STORED = {  # how a file holds its numbers -> the array, its scale, and what a user tells of it
    "int16": (lambda hu: hu.astype(np.int16), None, ()),
    "a negative slope": (lambda hu: (-hu).astype(np.int16), (-1, 0), ()),
    "floats": (lambda hu: hu.astype(np.float64) + 0.25, None, ()),
    "1024 added": (lambda hu: (hu + 1024).astype(np.uint16), None, ("1,-1024",)),
}


def trunk(seed):
    """Draw whole Hounsfield units with air, and a label."""
    image, label = anatomy(seed=seed)
    return np.where(np.arange(SHAPE[0])[:, None, None] < 6, -1000, image.astype(int) - 60), label


@pytest.mark.parametrize("modality", ["ct", "mr"])
@pytest.mark.parametrize("axis", ["acquired", "coronal"])
@pytest.mark.parametrize("stored", STORED)
def test_predict_sees_bit_for_bit_what_training_saw(tmp_path, stored, axis, modality):
    as_held, slope, rescale = STORED[stored]
    rescale = rescale if modality == "ct" else ()
    for number, codes in enumerate(("RAS", "PSR")):
        hu, label = trunk(number)
        affine = oriented(codes, zooms=(1.5, 1.25, 4.0) if number else (0.8, 0.9, 3.0))
        save(tmp_path / f"in/c{number}.nii.gz", as_held(hu), affine, slope=slope)
        save(tmp_path / f"in/c{number}_seg.nii.gz", label, affine)
    told = dict(modality=[modality], labels=["1=a", "2=b"], rescale=rescale)
    prepare([tmp_path / "in"], tmp_path / "out", axis=axis, workers=1, **told)
    opened = open_shards([tmp_path / "out"])
    frames = tuple(frame_to_text(shown_frame(volume.grid)) for volume in opened.volumes)
    frames = frames if axis == "acquired" else ()
    for number, volume in enumerate(opened.volumes):
        file = tmp_path / "in" / f"{volume.name.split('/')[1]}.nii.gz"
        for size, mm in ((16, None), (24, 2.0)):
            reading = Reading(size, mm, axis, modality, frames=frames, rescale=rescale)
            read, kept = read_scan(file, reading), scan_in(opened, number)
            assert read[1:2] + read[3:] == kept[1:2] + kept[3:]
            assert read.geometry.header == kept.geometry.header
            every = range(len(kept.values))
            images = load_images(opened, number, every, size=size, spacing=mm)
            assert images.dtype == np.float32 and images.std() > 0.1
            np.testing.assert_array_equal(seen(read, reading), images)
            np.testing.assert_array_equal(seen(read, reading, [3, 1]), images[[3, 1]])
            support = read_support([parsed(f"{file}:{file.with_name(_label(file))}:1")], reading)
            held = np.flatnonzero(volume.counts["a"])
            np.testing.assert_array_equal(support.examples.image, images[held])


def _label(file):
    return file.name.replace(".nii", "_seg.nii")


def test_there_is_one_way_to_the_network_and_nobody_else_windows_slices():
    assert SlicePreprocessing().images is jaxmeta.inference.scan.network_input is network_input
    windowing = {
        name
        for name, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and node.module == "jaxmeta.data.intensity"
        if {"clip", "normalize"} & {alias.name for alias in node.names}
    }
    assert windowing == {"jaxmeta.data.scan"}


def test_slices_of_a_scan_are_those_of_its_array_at_any_size():
    rng = np.random.default_rng(0)
    image = rng.integers(-300, 400, SHAPE).astype(np.int16)
    grid = grid_by("axial", SHAPE, oriented("PSR"), b"")
    scan = Scan(to_slices(image, grid), Scale(0.5, -20.0), grid, CT)
    native = network_input(scan, [4, 0], None)
    real = np.clip(scan.values[[4, 0]] * 0.5 - 20.0, -160, 240)
    np.testing.assert_allclose(native[..., 0], (real - 40) / 100, atol=1e-5)
    both = network_input(scan, [4, 0], 12, 2.0)
    assert both.shape == (2, 12, 12, 1)
    for numbers in ([0], np.array([0]), range(1)):
        np.testing.assert_array_equal(network_input(scan, numbers, 12, 2.0), both[1:])
    assert network_input(scan, [], 12).shape == (0, 12, 12, 1)
    with pytest.raises(IndexError):
        network_input(scan, [99], 12)


def test_a_scan_has_the_units_that_a_user_told_and_errors_name_the_file():
    hu, _ = trunk(0)
    image = Image((hu + 1024).astype(np.int16), 1.0, 0.0, oriented("RAS"), b"")
    grid = Grid(SHAPE, image.affine, b"", "axial")
    scan = scan_of(image, grid, "ct", file="a.nii", rescale=(1.0, -1024.0))
    assert (scan.scale, scan.intensity) == (Scale(1.0, -1024.0), CT)
    np.testing.assert_array_equal(from_slices(scan.values, grid), image.values)
    with pytest.raises(Unseen, match="^a.nii: is not in HU"):
        scan_of(image, grid, "ct", file="a.nii")
    flat = image._replace(values=np.zeros(SHAPE, np.int16))
    with pytest.raises(BadInput, match="^a.nii: every voxel has the value 0"):
        scan_of(flat, grid, "mr", file="a.nii")
