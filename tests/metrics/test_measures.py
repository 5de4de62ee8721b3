"""What any measure must obey, whatever the masks; and the packages that others use, side by
side."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy.ndimage import binary_dilation

from jaxmeta.metrics import CONVENTIONS, DEFAULT, measure
from jaxmeta.metrics.conventions import DEEPMIND, MEDPY, MONAI, overlap_alone, undefined
from jaxmeta.metrics.distances import nearest
from jaxmeta.metrics.surfaces import Surface, area_surface, voxel_surface

DISTANCES = {"hd95", "assd", "asd", "asd_back"}
masks = arrays.arrays(bool, (4, 5, 3)).map(lambda mask: np.pad(mask, ((1, 2), (0, 3), (2, 0))))
some = masks.filter(np.any)
spacings = st.tuples(*[st.sampled_from([0.5, 0.7, 1.0, 3.0])] * 3)
conventions = st.sampled_from(list(CONVENTIONS.values()))


def close(a, b, names):
    for name in names:
        np.testing.assert_allclose(getattr(a, name), getattr(b, name), rtol=1e-6, atol=1e-9)


@given(some, some, spacings, conventions)
def test_exchanging_prediction_and_truth_exchanges_what_has_a_direction(p, t, mm, convention):
    found = measure(p, t, spacing=mm, convention=convention)
    mirrored = measure(t, p, spacing=mm, convention=convention)
    close(found, mirrored, ("dice", "iou", "hd95", "assd", "nsd"))
    assert found.precision == mirrored.recall and found.asd == mirrored.asd_back


@given(some, some, spacings, conventions, st.tuples(*[st.integers(0, 3)] * 3))
def test_moving_both_masks_changes_nothing(p, t, mm, convention, by):
    def moved(mask):
        return np.pad(mask, [(n, 3 - n) for n in by])

    found = measure(p, t, spacing=mm, convention=convention)
    other = measure(moved(p), moved(t), spacing=mm, convention=convention)
    close(found, other, set(found._fields) - {"outcome"})


@given(some, some, spacings, conventions, st.permutations(range(3)), st.integers(0, 2))
def test_nothing_depends_on_orientation(p, t, mm, convention, order, axis):
    def turned(mask):
        return np.flip(np.transpose(mask, order), axis)

    found = measure(p, t, spacing=mm, convention=convention)
    other = measure(turned(p), turned(t), spacing=[mm[i] for i in order], convention=convention)
    close(found, other, set(found._fields) - {"outcome"})


@given(some, some, spacings, conventions)
def test_twice_the_spacing_is_twice_every_distance(p, t, mm, convention):
    found = measure(p, t, spacing=mm, tolerance=1.0, convention=convention)
    other = measure(p, t, spacing=[2 * each for each in mm], tolerance=2.0, convention=convention)
    close(found, other, set(found._fields) - DISTANCES - {"outcome"})
    for name in DISTANCES:
        np.testing.assert_allclose(getattr(other, name), 2 * getattr(found, name), rtol=1e-6)


@given(some, spacings, conventions)
def test_a_mask_is_no_distance_from_itself(mask, mm, convention):
    found = measure(mask, mask, spacing=mm, convention=convention)
    assert (found.dice, found.hd95, found.asd, found.asd_back) == (1, 0, 0, 0)
    assert convention.nsd is None or found.nsd == 1


@given(some, some, spacings)
def test_voxels_of_the_surface_are_those_beside_a_bare_one(p, t, mm):
    points, weights = voxel_surface(p, mm)
    shown = np.zeros(p.shape, bool)
    shown[tuple(points.T)] = True
    np.testing.assert_array_equal(
        shown, p & np.pad(binary_dilation(np.pad(~p, 1, constant_values=True)), 0)[1:-1, 1:-1, 1:-1]
    )
    assert np.all(weights == 1)


@given(some, spacings)
def test_a_mask_and_its_hole_have_the_same_area(mask, mm):
    hole = ~np.pad(mask, 1)
    hole = hole[1:-1, 1:-1, 1:-1]
    around = np.pad(hole, 2, constant_values=True)
    own, outer = area_surface(mask, mm).weights.sum(), area_surface(around, mm).weights.sum()
    block = area_surface(np.ones_like(around), mm).weights.sum()
    assert outer == pytest.approx(own + block)


@given(some, some, spacings)
@settings(max_examples=30)
def test_tree_and_transform_find_the_same_distances(p, t, mm):
    """A far point makes the box too large for the transform, and moves no other distance."""
    near, to = voxel_surface(p, mm), voxel_surface(t, mm)
    far = Surface(np.concatenate([near.points, [[900, 900, 900]]]), np.ones(len(near.points) + 1))
    np.testing.assert_allclose(nearest(far, to, mm)[:-1], nearest(near, to, mm))


@pytest.mark.parametrize(("p", "t"), [(0, 1), (1, 0), (0, 0)])
@pytest.mark.parametrize("convention", [DEFAULT, MONAI, DEEPMIND])
def test_every_policy_says_what_an_empty_mask_is(p, t, convention):
    predicted, target = np.full((3, 3, 3), p, bool), np.full((3, 3, 3), t, bool)
    found = measure(predicted, target, spacing=(1, 1, 1), convention=convention)
    assert found.outcome == {(0, 1): "missed", (1, 0): "false alarm", (0, 0): "empty"}[p, t]
    assert not found.hd95 < 5  # never the distance of a good mask
    assert np.isnan(found.nsd) if (p, t) == (0, 0) else found.nsd == 0


def test_other_policies_leave_a_miss_out_of_the_means_of_distances_or_of_all():
    predicted, target = np.zeros((3, 3, 3), bool), np.ones((3, 3, 3), bool)
    for policy, dice in ((overlap_alone, 0.0), (undefined, np.nan)):
        how = dict(spacing=(1, 1, 1), convention=DEFAULT._replace(empty=policy))
        found = measure(predicted, target, **how)
        assert np.isnan(found.hd95)
        np.testing.assert_equal(found.dice, dice)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of the package, about SciPy
def test_areas_and_distances_are_those_of_surface_distance():
    theirs = pytest.importorskip("surface_distance")
    rng = np.random.default_rng(0)
    for density in (0.02, 0.3, 0.6, 0.9):
        p, t = rng.random((2, 9, 8, 11)) < density
        mm = (2.5, 0.8, 1.3)
        found = theirs.compute_surface_distances(t, p, mm)
        ours = measure(p, t, spacing=mm, tolerance=1.0, convention=DEEPMIND)
        back, forth = theirs.compute_average_surface_distance(found)
        assert ours.asd == pytest.approx(forth, rel=1e-6)
        assert ours.asd_back == pytest.approx(back, rel=1e-6)
        assert ours.hd95 == pytest.approx(theirs.compute_robust_hausdorff(found, 95))
        nsd = theirs.compute_surface_dice_at_tolerance(found, 1.0)
        assert ours.nsd == pytest.approx(nsd, rel=1e-6)
        assert DEFAULT.nsd is DEEPMIND.nsd and MEDPY.nsd is None


@given(some, some, spacings, st.sampled_from([0.5, 1.0, 2.1, 3.0]))
def test_the_share_within_a_tolerance_needs_no_distance_beyond_it(p, t, mm, tolerance):
    """The default looks no further than the tolerance, deepmind at all distances; a far voxel makes
    both search a tree."""
    far = np.pad(p, ((0, 60), (0, 60), (0, 60)))
    far[-1, -1, -1] = True
    other = np.pad(t, ((0, 60), (0, 60), (0, 60)))
    how = dict(spacing=mm, tolerance=tolerance)
    found = measure(far, other, **how)
    assert found.nsd == measure(far, other, convention=DEEPMIND, **how).nsd
