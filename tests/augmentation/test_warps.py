"""One map moves image and mask; what bends it is smooth, of the size asked for, and never folds."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.augmentation.warps import (
    CUT,
    SMOOTHED,
    Pose,
    combine,
    displaced,
    pose,
    random_knots,
    spline,
    warp,
)

SIDE = 64
UPRIGHT = Pose(0.0, 1.0, jnp.zeros(2))
WARP = jax.jit(warp)
keys = partial(jax.random.split, jax.random.key(0))


def square() -> tuple[jax.Array, jax.Array]:
    """A square off the center of 16 x 16, brighter than its background."""
    mask = np.zeros((16, 16), np.uint8)
    mask[2:8, 3:7] = 1
    return jnp.asarray(mask[..., None] * 2.0 - 0.5, jnp.float32), jnp.asarray(mask)


def disc(radius: float = 14.0) -> tuple[jax.Array, jax.Array]:
    """The signed distance in pixels from a circle off the center, and the disc inside it."""
    rows, columns = np.mgrid[:SIDE, :SIDE]
    inside = radius - np.hypot(rows - 28, columns - 35)
    return jnp.asarray(inside[..., None], jnp.float32), jnp.asarray(inside > 0, jnp.uint8)


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_right_angles_turn_a_slice_exactly(turns):
    image, mask = square()
    moved, turned = WARP(image, mask, Pose(turns * jnp.pi / 2, 1.0, jnp.zeros(2)))
    np.testing.assert_array_equal(turned, np.rot90(mask, -turns))
    np.testing.assert_allclose(moved, np.rot90(image, -turns), atol=1e-4)


def test_shifts_and_scales_are_of_the_slice():
    image, mask = square()
    _, shifted = WARP(image, mask, Pose(0.0, 1.0, jnp.array([0.25, -0.125])))
    np.testing.assert_array_equal(shifted, np.roll(mask, (4, -2), (0, 1)))
    _, maximum = WARP(image, mask, Pose(0.0, 1.5, jnp.zeros(2)))
    assert maximum.sum() / mask.sum() == pytest.approx(1.5**2, rel=0.15)


def test_control_points_at_rest_leave_a_slice_as_it_is():
    image, mask = disc()
    same, marked = WARP(image, mask, UPRIGHT._replace(knots=jnp.zeros((7, 7, 2))))
    np.testing.assert_allclose(same, image, atol=1e-5)
    np.testing.assert_array_equal(marked, mask)


@pytest.mark.parametrize("cells", [1, 2, 5])
def test_a_spline_gives_back_what_is_constant_or_linear(cells):
    """Four weights a pixel, which sum to one and whose mean place is the pixel's own."""
    weights = np.asarray(spline(24, cells))
    assert ((weights > 0).sum(1) <= 4).all() and (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1.0, atol=1e-6)
    places = (np.arange(24) + 0.5) / 24 * cells
    np.testing.assert_allclose(weights @ np.arange(-1, cells + 2), places, atol=1e-5)


def test_control_points_that_move_alike_are_a_shift_in_sides_of_any_slice():
    image, mask = (a[:, :12] for a in disc())
    knots = jnp.broadcast_to(jnp.array([0.25, -0.125]), (7, 7, 2))
    bent = WARP(image, mask, UPRIGHT._replace(knots=knots))
    shifted = WARP(image, mask, UPRIGHT._replace(shift=-knots[0, 0]))
    np.testing.assert_allclose(bent[0], shifted[0], atol=1e-4)


@pytest.mark.parametrize("cells", [3, 4])
def test_pixels_move_by_the_spread_that_was_asked_for(cells):
    """2000 fields: 1 % of the spread over all pixels and draws, 10 % at any one of them."""

    @jax.jit
    @jax.vmap
    def drawn(key):
        knots = random_knots(key, 0.02, cells)
        return knots, displaced(knots, 16, 16)

    knots, fields = map(np.asarray, drawn(keys(2000)))
    assert fields.std() == pytest.approx(0.02, rel=0.01)
    np.testing.assert_allclose(fields.std(axis=0), 0.02, rtol=0.1)
    assert abs(fields.mean()) < 0.02 / 50
    assert abs(np.asarray(knots)).max() <= CUT * 0.02 / SMOOTHED * (1 + 1e-6)


def areas(spread: float, cells: int, support_sets: int) -> np.ndarray:
    """What becomes of the area of each pixel in some draws, from differences between neighbors."""

    def field(key):
        return SIDE * displaced(random_knots(key, spread, cells), SIDE, SIDE)

    by = np.asarray(jax.jit(jax.vmap(field))(keys(support_sets)))
    down, across = np.diff(by, axis=2)[..., :-1], np.diff(by, axis=3)[:, :, :-1]
    return (1 + down[:, 0]) * (1 + across[:, 1]) - down[:, 1] * across[:, 0]


@pytest.mark.parametrize("cells", [2, 4, 8])
def test_up_to_a_tenth_of_a_cell_no_draw_folds(cells):
    drawn = areas(0.1 / cells, cells, 300)
    assert drawn.min() > 0
    assert drawn.mean() == pytest.approx(1.0, abs=0.02)


def test_far_beyond_a_tenth_of_a_cell_draws_do_fold():
    assert areas(0.25 / 4, 4, 50).min() < 0


def worst_area(reach: float) -> float:
    """Search the control points within `reach` of their distance for the smallest determinant.

    At a fixed place in a cell the determinant is linear in the rows' displacements for given
    columns', and the other way round: its minimum is at corners, found by turns from several
    starts.
    """
    rng, smallest = np.random.default_rng(0), np.inf

    def value_and_slope(place):
        x = place - np.arange(-1, 3)
        near, far = np.maximum(1 - abs(x), 0), np.maximum(2 - abs(x), 0)
        return far**3 / 6 - 4 * near**3 / 6, np.sign(x) * (2 * near**2 - far**2 / 2)

    for place in np.ndindex(5, 5):
        (row, row_slope), (column, column_slope) = (value_and_slope(p / 8) for p in place)
        down, across = np.outer(row_slope, column).ravel(), np.outer(row, column_slope).ravel()
        for _ in range(10):
            a = reach * rng.choice([-1, 1], 16)
            for _ in range(10):
                b = -reach * np.sign((1 + down @ a) * across - (across @ a) * down)
                a = -reach * np.sign((1 + across @ b) * down - (down @ b) * across)
            smallest = min(smallest, (1 + down @ a) * (1 + across @ b) - (across @ a) * (down @ b))
    return smallest


def test_no_control_points_fold_within_the_limit_of_choi_and_lee():
    """Not even the worst ones: 0.48 of their distance holds, 0.5 does not; a draw stays within
    0.48."""
    assert worst_area(0.48) > 0 > worst_area(0.50)
    assert CUT * 0.1 / SMOOTHED < 0.48


BENT = jax.jit(lambda key: pose(key, 20.0, 0.2, 0.05, 0.025))


@pytest.mark.parametrize("number", range(4))
def test_the_mask_moves_with_a_smooth_image(number):
    """They differ only where the image says that the outline runs through the pixel."""
    image, mask = disc()
    moved, turned = WARP(image, mask, BENT(jax.random.key(number)))
    off = (np.asarray(moved[..., 0]) > 0) != (np.asarray(turned) > 0)
    assert abs(np.asarray(moved[..., 0]))[off].max(initial=0) < 1.0  # a pixel from the outline
    assert turned.sum() > 200 and (turned != mask).sum() > 50


def test_outside_the_slice_the_image_s_edge_goes_on_and_nothing_is_marked():
    image, mask = disc()[0], jnp.ones((SIDE, SIDE), jnp.uint8)
    to = UPRIGHT._replace(knots=random_knots(jax.random.key(1), 0.025, 4))
    moved, marked = WARP(image, mask, to)
    by = SIDE * np.asarray(displaced(to.knots, SIDE, SIDE))
    from_row, from_column = by + np.mgrid[:SIDE, :SIDE]
    far = np.maximum(abs(from_row - 31.5), abs(from_column - 31.5)) - 31.5
    assert (far > 0.51).any()
    assert (np.asarray(marked)[far > 0.51] == 0).all() and (
        np.asarray(marked)[far < 0.49] == 1
    ).all()
    assert image.min() <= moved.min() and moved.max() <= image.max()
    flat, _ = WARP(jnp.ones((SIDE, SIDE, 1)), mask, to)
    np.testing.assert_allclose(flat, 1.0, atol=1e-6)


def test_poses_and_displacements_add():
    one, other = (BENT(key) for key in keys(2))
    both = combine(one, other)
    np.testing.assert_array_equal(both.knots, one.knots + other.knots)
    np.testing.assert_array_equal(combine(one, UPRIGHT).knots, one.knots)
    assert combine(UPRIGHT, UPRIGHT).knots is None


def test_slices_side_by_side_are_bent_as_one_by_one():
    image, mask = disc()

    def bent(key):
        return warp(image, mask, pose(key, 10.0, 0.1, 0.04, 0.02))

    together, bent = jax.jit(jax.vmap(bent))(keys(3)), jax.jit(bent)
    for number, key in enumerate(keys(3)):
        alone = bent(key)
        np.testing.assert_allclose(together[0][number], alone[0], atol=1e-4)
        assert (together[1][number] != alone[1]).mean() < 1e-3  # rounding at half a pixel
