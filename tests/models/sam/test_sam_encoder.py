"""The image encoder: who sees whom, where adapters reach in, and how many numbers it has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.models.sam.encoder import Taps, embedding, encoder, from_windows, to_windows
from tests.helpers.by_hand import begun
from tests.helpers.sizes import SMALL

PARTS = encoder(SMALL)
VARIABLES = begun(PARTS.init)
BLOCK = jax.jit(PARTS.block, static_argnums=1)


def tokens(seed=0):
    draw = np.random.default_rng(seed).normal(size=(2, SMALL.grid, SMALL.grid, SMALL.width))
    return jnp.asarray(draw, jnp.float32)


@pytest.mark.parametrize("height, width, side", [(4, 4, 3), (5, 7, 3), (6, 6, 3), (2, 2, 7)])
def test_windows_are_put_together_as_they_were_cut(height, width, side):
    x = jnp.arange(2.0 * height * width).reshape(2, height, width, 1)
    windows = to_windows(x, side)
    assert windows.shape == (2 * -(-height // side) * -(-width // side), side, side, 1)
    np.testing.assert_array_equal(from_windows(windows, side, x.shape), x)


def test_a_window_does_not_see_another_and_a_whole_block_sees_all():
    x = tokens()
    changed = x.at[:, 3, 3].add(
        1.0
    )  # in the last window of 3 x 3; the first is rows and columns 0-2
    for number, everywhere in ((0, False), (1, True)):
        a, b = (BLOCK(VARIABLES, number, each) for each in (x, changed))
        assert (a != b)[:, :3, :3].any() == everywhere
        assert (a != b).any(-1)[:, 3, 3].all()


def test_images_do_not_see_each_other():
    x = tokens()
    for number in range(SMALL.depth):
        a = BLOCK(VARIABLES, number, x)
        b = BLOCK(VARIABLES, number, x.at[1].set(0.0))
        np.testing.assert_array_equal(a[0], b[0])


@pytest.mark.parametrize("where", Taps._fields)
def test_what_is_tapped_changes_its_block(where):
    factor = 3 if where == "qkv" else 1
    taps = Taps(**{where: lambda x: 0.3 * jnp.tile(jnp.cos(x), (1, 1, 1, factor))})
    plain = BLOCK(VARIABLES, 0, tokens())
    tapped = jax.jit(lambda v, x: PARTS.block(v, 0, x, taps))(VARIABLES, tokens())
    assert np.abs(plain - tapped).max() > 1e-2


def test_an_image_of_another_size_is_seen_by_interpolated_tables():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 24, 24, 3)), jnp.float32)
    found = jax.jit(lambda v, image: embedding(SMALL, PARTS, v, image))(VARIABLES, image)
    assert found.shape == (1, 6, 6, SMALL.features) and np.isfinite(found).all()
