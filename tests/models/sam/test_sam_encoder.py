"""The image encoder: who sees whom, where adapters reach in, and how many numbers it has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.models.sam import SIZES, sam
from jaxmeta.models.sam.encoder import Taps, embedding, encoder, from_windows, to_windows
from tests.helpers.sizes import SMALL

PARTS = encoder(SMALL)
VARIABLES = jax.tree.map(
    lambda a: a + 0.1 * jnp.sin(jnp.arange(a.size, dtype=jnp.float32)).reshape(a.shape),
    PARTS.init(jax.random.key(0)),
)


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
        a, b = (PARTS.block(VARIABLES, number, each) for each in (x, changed))
        assert (a != b)[:, :3, :3].any() == everywhere
        assert (a != b).any(-1)[:, 3, 3].all()


def test_images_do_not_see_each_other():
    x = tokens()
    for number in range(SMALL.depth):
        a = PARTS.block(VARIABLES, number, x)
        b = PARTS.block(VARIABLES, number, x.at[1].set(0.0))
        np.testing.assert_array_equal(a[0], b[0])


@pytest.mark.parametrize("where", Taps._fields)
def test_what_is_tapped_changes_its_block(where):
    factor = 3 if where == "qkv" else 1
    taps = Taps(**{where: lambda x: 0.3 * jnp.tile(jnp.cos(x), (1, 1, 1, factor))})
    plain, tapped = (PARTS.block(VARIABLES, 0, tokens(), t) for t in (Taps(), taps))
    assert np.abs(plain - tapped).max() > 1e-2


def test_an_image_of_another_size_is_seen_by_interpolated_tables():
    image = jnp.asarray(np.random.default_rng(0).normal(size=(1, 24, 24, 3)), jnp.float32)
    found = embedding(SMALL, PARTS, VARIABLES, image)
    assert found.shape == (1, 6, 6, SMALL.features) and np.isfinite(found).all()


@pytest.mark.parametrize(
    "name, encoder_count, whole",
    [
        ("vit-b", 89_670_912, 93_735_472),
        ("vit-l", 308_278_272, 312_342_832),
        ("vit-h", 637_026_048, 641_090_608),
    ],
)
def test_published_sizes_have_their_number_of_parameters(name, encoder_count, whole):
    shapes = jax.eval_shape(sam(SIZES[name]).init, jax.random.key(0))
    count = {part: sum(a.size for a in jax.tree.leaves(of)) for part, of in shapes.items()}
    frequencies = 256  # drawn once, stored, and never trained
    assert count["image_encoder"] == encoder_count
    assert count["prompt_encoder"] == 6_220 + frequencies
    assert count["mask_decoder"] == 4_058_340
    assert sum(count.values()) == whole + frequencies
