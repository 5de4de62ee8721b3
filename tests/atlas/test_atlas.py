"""Masks without training: what must hold whatever the scans are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmeta.atlas import Atlas, Rule, segment
from jaxmeta.atlas.alignment import body_box, extent, moved
from jaxmeta.atlas.intensity import BINS, HIGH, LOW, binned, histogram, looked_up, surroundings
from jaxmeta.atlas.patches import Search, votes
from jaxmeta.atlas.segment import by_height, log_odds, shifted, sigmoid

SIZE, SLICES = 48, 12


def body(seed=0, size=SIZE, slices=SLICES, down=0.0, right=0.0, bright=1.5, zoom=1.0):
    """Draw a body with an organ, a look-alike on the other side, and noise: (image, mask)."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(
        np.linspace(-1, 1, slices), *[np.linspace(-1, 1, size)] * 2, indexing="ij"
    )
    y, x = (y - down) / zoom, (x - right) / zoom
    image = np.full(z.shape, -1.0)
    image[(y / 0.75) ** 2 + (x / 0.85) ** 2 < 1] = 0.0
    organ = (z / 0.7) ** 2 + ((y - 0.1) / 0.3) ** 2 + ((x + 0.4) / 0.25) ** 2 < 1
    other = (z / 0.8) ** 2 + ((y + 0.1) / 0.3) ** 2 + ((x - 0.4) / 0.25) ** 2 < 1
    image[organ | other] = bright
    image += 0.15 * rng.normal(size=image.shape)
    return image.astype(np.float32), organ


def height(slices=SLICES):
    return np.linspace(0, 1, slices, dtype=np.float32)


def atlas_of(image, mask, chosen=(2, 4, 6, 8, 9), scan=0):
    chosen = list(chosen)
    at = height(len(image))[chosen]
    return Atlas(image[chosen], mask[chosen].astype(np.uint8), at, np.full(len(chosen), scan))


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def found(atlas, image, rule=Rule()):
    return segment(atlas, image, height(len(image)), rule)


def test_the_scan_that_gave_the_support_gets_its_mask_back():
    image, mask = body()
    assert dice(found(atlas_of(image, mask), image) > 0.5, mask) > 0.9


@pytest.mark.parametrize("pose", [dict(down=0.1, right=-0.08), dict(zoom=0.85), dict(zoom=1.1)])
def test_another_body_elsewhere_in_its_field_of_view_is_found(pose):
    atlas = atlas_of(*body())
    image, mask = body(seed=1, **pose)
    answer = found(atlas, image) > 0.5
    assert dice(answer, mask) > 0.8
    assert dice(answer, mask) > dice(copied(atlas), mask) + 0.02


def copied(atlas):
    """Copy the nearest mask, none beyond the ends."""
    near = np.abs(height()[:, None] - atlas.height).argmin(1)
    inside = (height() >= atlas.height.min()) & (height() <= atlas.height.max())
    return (atlas.mask[near] > 0) & inside[:, None, None]


@given(st.permutations(range(5)), st.integers(0, 3))
@settings(max_examples=5)
def test_the_order_of_slices_says_nothing(order, seed):
    image, mask = body(seed=seed)
    atlas = atlas_of(image, mask)
    order = list(order)
    other = Atlas(*(each[order] for each in atlas))
    query, _ = body(seed=9, right=0.05)
    np.testing.assert_array_equal(found(atlas, query), found(other, query))


@pytest.mark.parametrize("axis", [1, 2])
def test_mirrored_scans_have_mirrored_masks(axis):
    atlas = atlas_of(*body())
    query, _ = body(seed=1, down=0.06, right=0.04)
    mirrored = atlas._replace(image=np.flip(atlas.image, axis), mask=np.flip(atlas.mask, axis))
    answer = found(mirrored, np.flip(query, axis))
    np.testing.assert_allclose(np.flip(answer, axis), found(atlas, query), atol=2e-3)


def test_a_stack_turned_upside_down_has_its_masks_upside_down():
    atlas = atlas_of(*body(), chosen=(2, 4, 7, 9))
    query, _ = body(seed=1)
    turned = atlas._replace(height=1 - atlas.height)
    answer = segment(turned, query[::-1], height())
    np.testing.assert_allclose(answer[::-1], found(atlas, query), atol=2e-3)


@pytest.mark.parametrize("size", [64, 96, 128, 160])
def test_lengths_follow_the_size_of_a_slice(size):
    query, mask = body(seed=1, size=size, right=0.05)
    assert dice(found(atlas_of(*body(size=size)), query) > 0.5, mask) > 0.85


def test_several_patients_are_each_moved_by_themselves():
    first, second = (atlas_of(*body(seed=s, right=r), scan=s) for s, r in ((0, -0.1), (1, 0.1)))
    both = Atlas(*(np.concatenate(each) for each in zip(first, second, strict=True)))
    query, mask = body(seed=2)
    assert dice(found(both, query) > 0.5, mask) > 0.85


def test_brightness_of_the_query_alone_is_learned_from_the_query():
    image, mask = body()
    query, truth = body(seed=1, bright=1.9)
    answer = found(atlas_of(image, mask), query)
    without = found(atlas_of(image, mask), query, Rule(rounds=0))
    assert dice(answer > 0.5, truth) >= dice(without > 0.5, truth) - 0.01


@pytest.mark.parametrize("case", ["one slice", "one query slice", "constant", "full", "bare"])
def test_poor_input_gives_probabilities(case):
    image, mask = body()
    query, _ = body(seed=1)
    if case == "one slice":
        atlas = atlas_of(image, mask, chosen=(5,))
    elif case == "constant":
        atlas, query = atlas_of(np.zeros_like(image), mask), np.zeros_like(query)
    elif case == "full":
        atlas = atlas_of(image, np.ones_like(mask))
    elif case == "bare":
        atlas = atlas_of(image, np.zeros_like(mask))
    else:
        atlas, query = atlas_of(image, mask), query[5:6]
    answer = segment(atlas, query, height(len(query)) if len(query) > 1 else np.float32([0.5]))
    assert answer.shape == query.shape and np.isfinite(answer).all()
    assert answer.min() >= 0 and answer.max() <= 1
    if case == "bare":
        assert not (answer > 0.5).any()


def test_a_histogram_shares_a_pixel_between_its_bins():
    width = (HIGH - LOW) / (BINS - 1)
    pixels = binned(np.full((1, 1, 1), LOW + 10.25 * width, np.float32))
    count = histogram(pixels, np.ones((1, 1, 1), np.float32))
    assert count.sum() == pytest.approx(1)
    bare = np.zeros(BINS)
    bare[10], bare[11] = 0.75, 0.25
    bare = np.convolve(bare, [0.25, 0.5, 0.25], "same") + 3e-3
    np.testing.assert_allclose(count, bare / bare.sum(), rtol=1e-5)
    assert looked_up(np.arange(BINS), pixels).item() == pytest.approx(10.25, abs=1e-4)


def test_surroundings_leave_out_the_structure_and_what_is_far():
    mask = np.zeros((1, 64, 64), np.float32)
    mask[0, 28:36, 28:36] = 1
    around = surroundings(mask, 6.0)
    assert (around[mask > 0] == 0).all()
    assert around[0, 32, 37] > 0.5 and around[0, 2, 2] < 0.01


def test_the_extent_of_a_count_leaves_its_tails_out():
    count = np.zeros(20)
    count[5:15] = 100
    count[1] = 5
    assert extent(count) == (9.5, 10)
    assert extent(count[::-1]) == (9.5, 10)
    assert extent(np.zeros(20)) == (9.5, 20)


def test_slices_are_moved_from_box_to_box():
    image, mask = body()
    other, there = body(down=0.1, right=-0.1, zoom=0.9)
    went = moved(mask.astype(np.float32), body_box(image), body_box(other))
    assert dice(went > 0.5, there) > dice(mask, there) + 0.15
    assert dice(went > 0.5, there) > 0.88


def test_votes_come_from_pixels_that_look_alike():
    rng = np.random.default_rng(0)
    known = rng.normal(size=(1, 32, 32)).astype(np.float32)
    mask = np.zeros((1, 32, 32), np.float32)
    mask[0, 10:20, 10:20] = 1
    image = np.roll(known, (2, -3), (1, 2))
    nearest, weight = np.zeros((1, 1), int), np.ones((1, 1), np.float32)
    share = votes(image, known, mask, nearest, weight, Search(blur=0.0, noise=0.2))
    np.testing.assert_array_equal(share > 0.5, np.roll(mask, (2, -3), (1, 2)) > 0)


def test_a_structure_is_looked_for_beside_its_place():
    mask = np.zeros((3, 32, 32), np.float32)
    mask[:, 10:20, 10:20] = 1
    atlas = Atlas(mask, mask, height(3), np.zeros(3, int))
    likely = np.where(np.roll(mask, (2, -1), (1, 2)) > 0, 4.0, -4.0).astype(np.float32)
    went = shifted(atlas, likely, height(3), Rule(pixels=0.2))
    np.testing.assert_array_equal(went.mask, np.roll(mask, (2, -1), (1, 2)))
    stayed = shifted(atlas, np.zeros_like(likely), height(3), Rule())
    np.testing.assert_array_equal(stayed.mask, mask)


def test_weights_by_height_fall_beyond_the_labelled_stretch():
    blank = np.zeros((3, 4, 4), np.float32)
    atlas = Atlas(blank, blank, np.float32([0.4, 0.5, 0.6]), np.zeros(3, int))
    weight = by_height(atlas, np.float32([0.5, 0.6, 0.7, 0.9]), 0.08)
    np.testing.assert_allclose(weight.sum(1), np.exp(-0.5 * np.array([0, 0, 1, 9.0])), rtol=1e-3)
    assert weight[0].argmax() == 1 and weight[3].argmax() == 2
    alone = by_height(Atlas(*(each[:1] for each in atlas)), np.float32([0.0, 1.0]), 0.08)
    np.testing.assert_allclose(alone, 1)


def test_no_vote_is_certain():
    odds = log_odds(np.float32([0, 0.001, 0.5, 1]), 0.02)
    np.testing.assert_allclose(sigmoid(odds), [0.0004, 0.02, 0.5, 0.98], rtol=1e-4)
