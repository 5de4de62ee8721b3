"""Slices are those that were acquired, and look alike however a scan was turned or stored."""

from itertools import permutations

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from jaxmeta.data.grid import from_slices, grid_by, sliced_shape, spacing, to_slices
from jaxmeta.data.orientation import (
    ACQUIRED,
    FRAMES,
    common_frame,
    frame_to_text,
    frames_from_text,
    nearest_frame,
    own_frame,
    plane_of,
    slice_axis,
)
from tests.helpers.scans import oriented

SHAPE, ZOOMS = (12, 10, 7), (1.25, 1.25, 8.0)  # a stack: slices 8 mm apart along the last axis
STORED = [
    np.array([(axis, flip) for axis, flip in zip(order, flips)])
    for order in permutations(range(3))
    for flips in np.ndindex(2, 2, 2)
]
STORED = [ornt * [1, 2] - [0, 1] for ornt in STORED]  # flips 0, 1 -> -1, 1
# Turns of a patient that leave rows and columns what they are in a plane.
TURNS = {"axial": np.eye(3), "coronal": np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]])}
TURNS["sagittal"] = np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]])
tilts = st.builds(
    lambda axis, angle: Rotation.from_rotvec(
        np.array(axis) / np.linalg.norm(axis) * angle
    ).as_matrix(),
    st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    st.floats(-0.6, 0.6),  # 34 degrees, to either side
)


def stack(seed=0):
    """A scan without symmetry, its array as an axial stack stored RAS has it."""
    return np.random.default_rng(seed).integers(0, 1000, SHAPE).astype(np.int16)


def turned(affine, turn):
    """Turn the patient: the same voxels, lying otherwise in space."""
    matrix = np.eye(4)
    matrix[:3, :3] = turn
    return matrix @ affine


def stored(array, affine, ornt):
    """Store a scan in another of the 48 orientations, at the same place in space."""
    image = nib.Nifti1Image(array, affine).as_reoriented(ornt)
    return np.asarray(image.dataobj), image.affine


@given(st.sampled_from(STORED), st.sampled_from(sorted(TURNS)), tilts)
def test_a_stack_gives_the_same_slices_however_it_was_turned_tilted_and_stored(ornt, plane, tilt):
    array, straight = stack(), oriented("RAS", SHAPE, ZOOMS)
    reference = to_slices(array, grid_by(ACQUIRED, SHAPE, straight, b""))
    np.testing.assert_array_equal(reference, np.moveaxis(array, 2, 0))
    new, affine = stored(array, turned(straight, tilt @ TURNS[plane]), ornt)
    grid = grid_by(ACQUIRED, new.shape, affine, b"", FRAMES[plane])
    np.testing.assert_array_equal(to_slices(new, grid), reference)
    np.testing.assert_allclose(spacing(grid), (8.0, 1.25, 1.25))
    assert sliced_shape(grid) == (7, 12, 10)
    np.testing.assert_array_equal(from_slices(reference, grid), new)


directions = st.tuples(st.floats(0, 360), st.floats(-90, 90), st.floats(0, 360))


def lying(azimuth, elevation, roll):
    """Turn a patient in any way."""
    return Rotation.from_euler("zyx", (azimuth, elevation, roll), degrees=True).as_matrix()


@given(directions, st.lists(directions, min_size=2, max_size=9), st.floats(0, 20))
def test_patients_of_one_study_look_alike_however_their_study_lies(study, patients, apart):
    """Short axes, say: each patient up to 20 degrees off a direction that is near to no plane of
    anatomy."""
    array, straight = stack(), oriented("RAS", SHAPE, ZOOMS)
    affines = []
    for azimuth, elevation, _ in patients:
        axis = lying(azimuth, elevation, 0)[:, 0]
        off = Rotation.from_rotvec(axis * np.deg2rad(apart)).as_matrix()
        affines.append(turned(straight, off @ lying(*study)))
    frames = [own_frame(SHAPE, affine, ACQUIRED) for affine in affines]
    shared = common_frame(frames)
    views = []
    for affine in affines:
        frame, fits = nearest_frame(SHAPE, affine, ACQUIRED, [shared])
        assert fits
        views.append(to_slices(array, grid_by(ACQUIRED, SHAPE, affine, b"", frame)))
    for view in views[1:]:
        np.testing.assert_array_equal(view, views[0])
    (kept,) = frames_from_text([frame_to_text(shared)])  # as a run keeps it
    again = grid_by(
        ACQUIRED, SHAPE, affines[0], b"", nearest_frame(SHAPE, affines[0], ACQUIRED, [kept])[0]
    )
    np.testing.assert_array_equal(to_slices(array, again), views[0])


def test_hearts_stored_as_psr_and_lsp_are_shown_alike():
    """Two patients of one study: 13 slices 8 mm apart, the long axis 42 and 48 degrees off the
    coronal plane."""
    shape, views = (20, 24, 13), []
    heart = np.random.default_rng(1).normal(size=shape)
    for angle, codes in ((42, "LSP"), (48, "PSR")):
        c, s = np.cos(np.deg2rad(angle)), np.sin(np.deg2rad(angle))
        # rows to left and back, slices likewise
        across, along = np.array([-c, -s, 0]), np.array([s, -c, 0])
        affine = np.eye(4)
        affine[:3, :3] = np.stack([1.25 * across, [0, 0, 1.25], 8 * along], 1)
        assert "".join(nib.aff2axcodes(affine)) == codes
        for plane in ("coronal", "sagittal"):
            grid = grid_by(ACQUIRED, shape, affine, b"", FRAMES[plane])
            assert sliced_shape(grid)[0] == 13
            views.append(to_slices(heart, grid))
    for view in views[1:]:
        np.testing.assert_array_equal(view, views[0])


@pytest.mark.parametrize(
    ("zooms", "shape", "axis"),
    [
        ((0.8, 0.8, 5.0), (9, 9, 9), 2),
        ((5.0, 0.8, 0.8), (9, 9, 9), 0),
        ((0.8, 5.0, 0.82), (9, 9, 9), 1),
        ((1.0, 1.0, 0.4), (9, 9, 9), 2),  # thin slices are slices too
        ((0.9, 1.2, 6.0), (9, 9, 9), 2),  # three that differ: the one farther off
        ((1.0, 1.0, 1.05), (9, 9, 9), 2),  # as good as isotropic: the head's axis
        ((1.05, 1.0, 1.0), (9, 9, 9), 2),
        ((1.0, 1.0, 1.0), (9, 1, 9), 1),  # one slice, whatever its thickness
        ((1.0, 3.0, 1.0), (9, 9, 1), 2),
    ],
)
def test_slices_lie_across_the_axis_whose_spacing_differs(zooms, shape, axis):
    affine = np.diag([*zooms, 1.0])
    assert slice_axis(shape, affine, ACQUIRED) == axis


@given(st.sampled_from(STORED), st.sampled_from(sorted(FRAMES)))
def test_every_plane_is_right_handed_and_a_named_one_ignores_spacing(ornt, plane):
    slices, rows, columns = FRAMES[plane]
    np.testing.assert_array_equal(np.cross(rows, columns), slices)
    array = stack()
    new, affine = stored(array, oriented("RAS", SHAPE, ZOOMS), ornt)
    seen = to_slices(new, grid_by(plane, new.shape, affine, b""))
    straight = to_slices(array, grid_by(plane, SHAPE, oriented("RAS", SHAPE, ZOOMS), b""))
    np.testing.assert_array_equal(seen, straight)


def test_a_volume_of_another_plane_is_shown_as_its_own_and_does_not_fit():
    affine = turned(oriented("RAS", SHAPE, ZOOMS), TURNS["sagittal"])
    axial, sagittal = FRAMES["axial"], FRAMES["sagittal"]
    for known, expected in (([axial], False), ([axial, sagittal], True), ([], True)):
        frame, fits = nearest_frame(SHAPE, affine, ACQUIRED, known)
        assert fits == expected and plane_of(SHAPE, affine, ACQUIRED) == "sagittal"
        np.testing.assert_allclose(frame, sagittal, atol=1e-12)
    assert nearest_frame(SHAPE, affine, "axial", [FRAMES["coronal"]])[1] is False
