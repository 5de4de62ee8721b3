"""The reader: what of a support it remembers, and what it must not depend on."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.models.reader import around, patches, reader

READER = reader((8, 16), heads=2, rounds=2)
K, N, SIDE = 3, 2, 8


@cache
def variables():
    """Draw all parameters anew, so that none is 0 or alike for all heads."""
    leaves, tree = jax.tree.flatten(READER.init(jax.random.key(0)))
    keys = jax.random.split(jax.random.key(1), len(leaves))
    pairs = zip(leaves, keys, strict=True)
    return tree.unflatten([leaf + 0.3 * jax.random.normal(key, leaf.shape) for leaf, key in pairs])


def support(seed=0):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(K, SIDE, SIDE, 1)).astype(np.float32)
    mask = (image[..., 0] > 0.3).astype(np.uint8)
    height = np.linspace(0.2, 0.7, K, dtype=np.float32)
    return tuple(map(jnp.asarray, (image, mask, np.ones(K, bool), height)))


def query(seed=9):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(N, SIDE, SIDE, 1)).astype(np.float32)
    return jnp.asarray(image), jnp.array([0.3, 0.5])


@jax.jit
def answer(values, image, mask, valid, height, asked, at):
    return READER.decode(values, READER.read(values, image, mask, valid, height), asked, at)


def segmented(*given):
    return answer(variables(), *map(jnp.asarray, given))


def test_the_order_of_the_support_and_what_only_fills_it_change_nothing():
    given = support()
    expected = segmented(*given, *query())
    order = np.array([2, 0, 1])
    np.testing.assert_allclose(
        segmented(*(each[order] for each in given), *query()), expected, atol=2e-5
    )
    rng = np.random.default_rng(3)
    filled = [np.array(jnp.concatenate([each, each[:2]])) for each in given]
    filled[0][K:] = 5 * rng.normal(size=filled[0][K:].shape)
    filled[1][K:], filled[2][K:], filled[3][K:] = 1, False, 0.5
    np.testing.assert_allclose(segmented(*filled, *query()), expected, atol=2e-5)


def test_each_slice_of_the_query_is_segmented_by_itself():
    image, at = query()
    both = segmented(*support(), image, at)
    one = segmented(*support(), image[1:], at[1:])
    np.testing.assert_allclose(one, both[1:], atol=2e-5)


def test_the_masks_the_images_and_the_heights_of_the_support_matter():
    given = support()
    expected = segmented(*given, *query())
    for place, other in ((0, given[0][:, ::-1]), (1, given[1][:, ::-1]), (3, given[3][::-1])):
        changed = list(given)
        changed[place] = other
        assert np.abs(segmented(*changed, *query()) - expected).max() > 1e-3


def test_an_unknown_height_is_no_height():
    image, mask, valid, height = support()
    unknown = np.full(K, -1, np.float32)
    asked, at = query()
    expected = segmented(image, mask, valid, unknown, asked, at)
    np.testing.assert_array_equal(segmented(image, mask, valid, unknown, asked, 1 - at), expected)
    nobody = np.full(N, -1, np.float32)
    np.testing.assert_array_equal(segmented(image, mask, valid, height, asked, nobody), expected)
    assert np.abs(segmented(image, mask, valid, height, asked, at) - expected).max() > 1e-3


def test_without_a_valid_slice_or_a_mask_the_answer_and_its_gradient_are_finite():
    image, mask, valid, height = support()

    def total(values, mask, valid):
        memory = READER.read(values, image, mask, valid, height)
        return READER.decode(values, memory, *query()).sum()

    both = jax.jit(jax.value_and_grad(total))
    for given in ((mask, ~valid), (0 * mask, valid), (0 * mask + 1, valid)):
        value, slope = both(variables(), *given)
        assert jnp.isfinite(value)
        assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(slope))


def test_the_default_is_small_and_every_parameter_is_used():
    shapes = jax.eval_shape(reader().init, jax.random.key(0))
    assert 100_000 < sum(leaf.size for leaf in jax.tree.leaves(shapes)) < 700_000

    def total(values):
        memory = READER.read(values, *support())
        return (READER.decode(values, memory, *query()) ** 2).sum()

    slope = jax.jit(jax.grad(total))(variables())
    dead = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(slope)
        if not jnp.abs(leaf).max() > 0
    ]
    assert not dead


def test_patches_hold_the_pixels_of_a_square_and_their_neighbors_are_around():
    mask = jnp.zeros((1, 12, 12)).at[0, 4, 5].set(1.0)
    cut = patches(mask, 4)
    assert cut.shape == (1, 3, 3, 16) and cut[0, 1, 1].tolist().index(1.0) == 1
    assert around(cut.mean(-1), (12, 12)).all()
    corner = around(cut.mean(-1).at[0, 1, 1].set(0).at[0, 0, 0].set(0.5), (12, 12))
    assert corner[0, :8, :8].all() and corner.sum() == 64


@pytest.mark.parametrize("size", [8, 24])
def test_other_sizes_of_slices_need_no_other_parameters(size):
    image, height = jnp.zeros((1, size, size, 1)), jnp.zeros(1)
    mask = jnp.zeros((1, size, size), jnp.uint8)
    logits = segmented(image, mask, jnp.ones(1, bool), height, image, height)
    assert logits.shape == (1, size, size, 1)
