"""`predict` says how it read each scan, and takes no CT for MR in silence."""

import dataclasses

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.data.grid import Grid, pixel
from jaxmeta.errors import BadInput
from jaxmeta.inference import few_shot
from jaxmeta.inference.notes import unlike
from jaxmeta.inference.predict import predict
from jaxmeta.inference.run_reading import reading_for, teller
from jaxmeta.inference.scan import read_scan
from jaxmeta.inference.support import parsed, read_support
from jaxmeta.runs.run import open_run
from tests.helpers.predicting import options, pair


def changed(scanned, path, affine=None):
    """Save one of the scans again, with another affine."""
    scan = nib.load(scanned / "belly" / "imagesTr" / "case5.nii.gz")
    values = np.asarray(scan.dataobj).astype(np.int16)
    nib.save(nib.Nifti1Image(values, scan.affine if affine is None else affine), path)
    return path


def test_a_run_remembers_how_large_the_pixels_were_that_it_learned_from(run):
    """20 x 24 voxels of 1 mm become 16 x 16 pixels."""
    assert open_run(run).config.pixels == (20 / 16, 24 / 16)


@given(
    st.permutations([0, 1, 2]),
    st.lists(st.integers(3, 60), min_size=3, max_size=3),
    st.lists(st.floats(0.3, 9), min_size=3, max_size=3),
    st.sampled_from(["axial", "coronal", "sagittal"]),
    st.integers(8, 64),
)
def test_a_pixel_is_as_large_as_the_part_of_the_body_that_it_shows(order, shape, mm, axis, size):
    affine = np.eye(4)
    affine[:3, :3] = np.diag(mm)[:, order]  # array axis n runs along world axis order[n]
    grid = Grid(tuple(shape), affine, b"", axis)
    world = {w: shape[n] * mm[w] for n, w in enumerate(order)}
    cut = ["sagittal", "coronal", "axial"].index(axis)
    field = [world[w] for w in range(3) if w != cut]
    np.testing.assert_allclose(pixel(grid, size), [side / size for side in field])
    np.testing.assert_allclose(pixel(grid, size, 1.7), [1.7, 1.7])


@pytest.fixture
def reading(run):
    """Read as `predict` does where nobody says what the volumes are."""
    return read_as(run)


def read_as(run, modality=None):
    trained = open_run(run)
    reading = reading_for(trained, modality=modality)
    return reading._replace(tell=teller(run, trained.config, reading, modality=modality))


def test_every_scan_is_told_as_it_was_read_and_an_empty_mask_is_told_too(
    run, scanned, tmp_path, capsys, monkeypatch
):
    segment = few_shot.whole_volume
    monkeypatch.setattr(few_shot, "whole_volume", lambda *told: segment(*told) * 0 + 0.25)
    predict(options(run, scanned, output=tmp_path / "masks"))
    out = capsys.readouterr().out
    for name in ("case0", "case5"):  # the support, and what is segmented
        path = scanned / "belly" / "imagesTr" / f"{name}.nii.gz"
        told = (
            "mr, 10 axial slices of 20 x 24 pixels, 3 mm apart; 1 x 1 mm a pixel, 1.25 x 1.5 mm to "
            "the"
        )
        assert out.count(f"read {path}: {told} network (trained at 1.25 to 1.5)\n") == 1
    support = scanned / "belly" / "imagesTr" / "case0.nii.gz"
    note = (
        f"note: {support} is belly/case0, voxel for voxel, which {run} was trained on: the run has "
        "seen"
    )
    assert out.count("voxel for voxel") == out.count(f"{note} this support scan\n") == 1
    told = (
        f"no voxel of the structure in {path}: its highest probability is 0.25, and a voxel needs "
        "more"
    )
    assert told in out and f"see {tmp_path / 'masks' / 'overlay.png'}:" in out


def test_a_support_of_several_structures_is_told_once(reading, scanned, capsys):
    for structure in (2, 3):
        read_support([parsed(pair(scanned)[:-2])], reading, structure)
    assert capsys.readouterr().out.count("read ") == 1


@given(
    st.tuples(st.floats(0.2, 5), st.floats(1, 3)),
    st.floats(-4, 4).filter(lambda power: abs(abs(power) - 1) > 1e-3),
    st.booleans(),
)
def test_pixels_of_twice_the_size_are_too_large_and_of_half_too_small(ends, power, upper):
    """A pixel 2^p times as large as the largest, or 2^-p as the smallest, is warned of from p = 1
    on."""
    trained = (ends[0], ends[0] * ends[1])
    seen = trained[1] * 2**power if upper else trained[0] * 2**-power
    other = trained[1] if upper else trained[0]
    inside = trained[0] / 2 <= seen <= trained[1] * 2
    assert (unlike((seen, other), trained) == "") == inside
    assert unlike((seen, other), ()) == "", "of a run that did not remember nothing is known"


def test_a_scan_of_much_larger_pixels_is_warned_of(reading, scanned, tmp_path, capsys):
    large = changed(scanned, tmp_path / "large.nii.gz", np.diag([2.5, 2.5, 3, 1]))
    read_scan(large, reading)
    err = capsys.readouterr().err
    assert (
        f"warning: {large}: a pixel is 3.12 x 3.75 mm to the network, which learned at 1.25 to"
        in err
    )


@pytest.mark.parametrize("slope, intercept", [(1, -1024), (-1, 0), (0.5, -1000)])
def test_hounsfield_units_are_no_mr_unless_somebody_says_so(
    run, scanned, tmp_path, slope, intercept
):
    """Whether air is -1000 by the numbers in the file or by the scale in its header."""
    path = changed(scanned, tmp_path / "ct.nii.gz")
    image = nib.load(path)
    held = np.abs(np.asarray(image.dataobj)) + (1000 if slope < 0 else 0)
    image = nib.Nifti1Image(held, image.affine)
    image.header.set_slope_inter(slope, intercept)
    nib.save(image, path)
    assert nib.load(path).get_fdata().min() <= -900
    with pytest.raises(
        BadInput, match=r"ct.nii.gz: values down to -\d+, as air has in CT"
    ) as refused:
        read_scan(path, read_as(run))
    assert "`modality=mr` if it is MR all the same, `modality=ct` to try" in str(refused.value)
    read_scan(path, read_as(run, "mr"))


def test_what_a_run_never_learned_from_is_warned_of(run, capsys):
    trained = open_run(run)
    reading = reading_for(trained, modality="ct")
    teller(run, trained.config, reading, modality="ct")
    assert (
        f"warning: {run} learned from mr alone: of what it makes of ct" in capsys.readouterr().err
    )
    teller(run, dataclasses.replace(trained.config, modality=""), reading, modality="ct")
    teller(run, trained.config, reading, modality="mr")
    assert capsys.readouterr().err == ""
