"""The network of SSM-SAM: its points, its halo, its sizes, and that derivatives of derivatives are
right."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.models.sam import SIZES, sam
from jaxmeta.models.sam.adapters import adapted_blocks, from_parts, high_pass, low_rank, to_parts
from jaxmeta.models.sam.encoder import encoder
from jaxmeta.models.sam.simulate import drawn_on
from jaxmeta.models.ssm_sam import self_sampling
from jaxmeta.models.ssm_sam.blur import blur_matrix, halo, kernel_size
from jaxmeta.models.ssm_sam.decoder import FlexibleDecoder
from jaxmeta.models.ssm_sam.network import depths
from jaxmeta.models.ssm_sam.points import features_at
from jaxmeta.models.ssm_sam.released import idle_attention, in_turn
from jaxmeta.models.ssm_sam.sampler import SelfSampler
from tests.helpers.by_hand import begun
from tests.helpers.sizes import SMALL

SIZE = SMALL._replace(depth=4, whole=(0, 2))
NETWORK = self_sampling(SIZE, high_pass(SIZE, width=3))
DRAWN_ON = jax.jit(drawn_on, static_argnums=1)
ENCODE, APPLY = jax.jit(NETWORK.encode), jax.jit(NETWORK.apply)


@cache
def counts(change=lambda network: network, **how):
    size = SIZES["vit-b"]
    network = change(self_sampling(size, high_pass(size), **how))
    shapes = jax.eval_shape(network.init, jax.random.key(0))
    return {part: sum(a.size for a in jax.tree.leaves(of)) for part, of in shapes.items()}


def test_released_parameter_counts_hold():
    heads = 1_769_472 + 590_976
    for copies, sampler in ((4, 3_179_520), (2, 3_169_280), (1, 3_164_160)):
        found = counts(idle_attention, vectors=in_turn(copies))
        assert found == {"adapter": 63_312, "sampler": sampler, "decoder": heads + 1_841_408}
    no_mask_embed = 256  # which it never uses either
    assert sum(counts(idle_attention, vectors=in_turn(4)).values()) + no_mask_embed == 7_444_944


def test_idle_attention_changes_nothing_else(told):
    frozen, _, pixels, points, mask = told
    idle, prefix = idle_attention(NETWORK), ENCODE(frozen, pixels)
    one = begun(NETWORK.init)
    known = dict(jax.tree_util.tree_leaves_with_path(one))
    two = jax.tree_util.tree_map_with_path(lambda path, of: known.pop(path, of), begun(idle.init))
    assert not known and len(jax.tree.leaves(two)) > len(jax.tree.leaves(one))
    one, two = (APPLY(frozen, learned, prefix, points, mask) for learned in (one, two))
    np.testing.assert_array_equal(one, two)


def test_what_is_trained_and_used_is_counted_too():
    """7.17 million without the decoder's idle attention, 6.90 without the sampler's two."""
    found = sum(counts().values())
    assert found == 6_902_736
    assert found + 2 * 131_712 == 7_166_160
    assert counts(attends=False)["decoder"] == 1_769_472 + 590_976


def test_features_are_taken_after_the_ends_of_four_parts():
    assert depths(SIZES["vit-b"]) == (2, 5, 8, 11)
    assert depths(SIZES["vit-l"]) == (5, 11, 17, 23)


@pytest.mark.slow
def test_features_before_the_first_adapted_block_come_with_the_prefix():
    """Low-rank adapters begin at zero, on all blocks and on the last: the network sees the same."""
    frozen = jax.jit(sam(SIZE).init)(jax.random.key(0))
    rng = np.random.default_rng(0)
    pixels = jnp.asarray(rng.normal(size=(2, 16, 16, 3)), jnp.float32)
    points, mask = jnp.full((2, 3, 2), 5.0), jnp.full((2, 4, 4), 0.5)
    found = []
    for last, passed in ((None, 0), (2, 2), (1, 3)):
        network = self_sampling(SIZE, low_rank(SIZE, last=last))
        learned = jax.jit(network.init)(jax.random.key(1))
        prefix = jax.jit(network.encode)(frozen, pixels)
        assert len(prefix.passed) == passed
        again = from_parts(to_parts(prefix))
        assert jax.tree.structure(again) == jax.tree.structure(prefix)
        found.append(jax.jit(network.apply)(frozen, learned, again, points, mask))
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)
    np.testing.assert_allclose(found[2], found[0], atol=1e-5)


def test_points_lie_on_the_structure_x_along_a_row():
    mask = np.zeros((2, 8, 12), np.uint8)
    mask[0, 2, 9] = mask[1, 5, 4] = 1
    points = DRAWN_ON(mask, 64, jax.random.key(0))
    assert {tuple(p) for p in np.asarray(points).tolist()} == {(9.0, 2.0), (4.0, 5.0)}


def test_points_are_as_likely_on_every_pixel():
    mask = np.zeros((1, 4, 4), np.uint8)
    mask[0, 1] = 1
    points = np.asarray(DRAWN_ON(mask, 4000, jax.random.key(0)))
    share = np.bincount(points[:, 0].astype(int), minlength=4) / 4000
    np.testing.assert_allclose(share, 0.25, atol=0.03)  # 4 standard deviations
    assert (points[:, 1] == 1).all()


def test_without_a_structure_ten_points_lie_anywhere():
    points = np.asarray(DRAWN_ON(np.zeros((1, 16, 16), np.uint8), 30, jax.random.key(0)))
    assert len({tuple(p) for p in points[:10]}) > 5
    np.testing.assert_array_equal(points[10:20], points[:10])


def test_features_are_read_where_the_points_lie_not_transposed():
    """The middle of cell (row 1, column 3) of a 4 x 4 grid over 16 pixels is pixel (13.5, 5.5)."""
    features = jnp.zeros((1, 4, 4, 1)).at[0, 1, 3].set(1.0)
    at = jnp.array([[13.5, 5.5], [5.5, 13.5], [11.5, 5.5], [15.5, 5.5]])
    # half way to the next cell half of it is left; so it is half way over the border
    found = jax.jit(features_at, static_argnums=2)(features, at[None], 16)[0, :, 0]
    np.testing.assert_allclose(found, [1, 0, 0.5, 0.5], atol=1e-6)


def test_kernels_are_opencv_s():
    assert [kernel_size(101 * s / 512) for s in (512, 1024, 256)] == [101, 201, 51]
    row = blur_matrix(512, 101)[256]
    sigma = np.sqrt((row * (np.arange(512) - 256) ** 2).sum())
    assert sigma == pytest.approx(15.3, abs=0.1)  # 15.5, cut off at 50 pixels
    np.testing.assert_allclose(blur_matrix(40, 51).sum(1), 1, atol=1e-6)
    # mirrored about the border's pixel: pixel 0 sees 1 twice
    assert blur_matrix(64, 3)[0, 1] == pytest.approx(2 * blur_matrix(64, 3)[5, 6])


def test_the_halo_is_one_inside_and_falls_off_around():
    mask = jnp.zeros((2, 64, 64), jnp.uint8).at[0, 24:40, 20:44].set(1)
    soft = np.asarray(jax.jit(halo)(mask))
    assert (soft[0][np.asarray(mask[0]) > 0] == 1).all()
    outside = soft[0, 32, 44:]
    assert (np.diff(outside) < 1e-6).all() and 0.3 < outside[0] < 1 and outside[-1] < 0.05
    assert (soft[1] == 0).all()  # nothing to be seen, and nothing undefined


@pytest.fixture(scope="module")
def told():
    frozen, learned = begun(sam(SIZE).init), begun(NETWORK.init)
    rng = np.random.default_rng(0)
    pixels = jnp.asarray(rng.normal(size=(2, 16, 16, 3)), jnp.float32)
    points = jnp.tile(jnp.array([[[3.0, 5.0], [9.0, 2.0]]]), (2, 1, 1))
    mask = jnp.asarray(rng.random((2, 4, 4)), jnp.float32)
    return frozen, learned, pixels, points, mask


@pytest.mark.parametrize("part", ["points", "mask", "adapter", "sampler", "decoder"])
def test_everything_that_is_told_or_learned_matters(told, part):
    frozen, learned, pixels, points, mask = told
    prefix = ENCODE(frozen, pixels)
    before = APPLY(frozen, learned, prefix, points, mask)
    assert before.shape == (2, 16, 16)
    if part == "points":
        points = points + 4
    elif part == "mask":
        mask = mask[:, ::-1]
    else:
        learned = learned | {part: jax.tree.map(lambda a: a + 0.1, learned[part])}
    after = APPLY(frozen, learned, prefix, points, mask)
    assert np.abs(before - after).max() > 1e-4


def test_without_its_attention_the_decoder_is_not_told_the_mask(told):
    frozen, _, pixels, points, mask = told
    network = self_sampling(SIZE, high_pass(SIZE, width=3), attends=False)
    learned, prefix = begun(network.init), ENCODE(frozen, pixels)
    apply = jax.jit(network.apply)
    one, two = (apply(frozen, learned, prefix, points, m) for m in (mask, mask[:, ::-1]))
    np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_of_several_learned_queries_each_image_has_its_turn(told):
    """As released, each image of a batch has its own; of another batch they are taken in turn."""
    frozen, _, pixels, points, mask = told
    network = self_sampling(SIZE, high_pass(SIZE, width=3), vectors=in_turn(2))
    learned = begun(network.init)
    assert learned["sampler"]["layers_0"]["learned"].shape[0] == 2
    pixels, points, mask = (
        jnp.tile(a[:1], (3, *[1] * (a.ndim - 1))) for a in (pixels, points, mask)
    )
    prefix = ENCODE(frozen, pixels)
    logits = jax.jit(network.apply)(frozen, learned, prefix, points, mask)
    np.testing.assert_allclose(logits[0], logits[2], atol=1e-6)
    assert np.abs(logits[0] - logits[1]).max() > 1e-4


@pytest.mark.slow
def test_derivatives_of_every_part_equal_differences_to_second_order(told, x64):
    """Along a random direction of all that is learned: first and second derivative in float64.

    The first is a sum over all parameters: were the gradient of one not finite, neither were it.
    """
    frozen, learned, pixels, points, mask = jax.tree.map(lambda a: a.astype(jnp.float64), told)
    prefix = ENCODE(frozen, pixels)
    leaves, structure = jax.tree.flatten(learned)
    rng = np.random.default_rng(0)
    along = jax.tree.unflatten(structure, [rng.normal(size=a.shape) / 10 for a in leaves])

    def value(t):
        at = jax.tree.map(lambda a, d: a + t * d, learned, along)
        return jax.nn.softplus(NETWORK.apply(frozen, at, prefix, points, mask)).mean()

    def slope(t):
        found, by_t = jax.value_and_grad(value)(t)
        return by_t, found

    three = jax.jit(jax.value_and_grad(slope, has_aux=True))  # one program, compiled once
    h = 1e-5
    ((slope, _), curve), ((more, above), _), ((less, below), _) = map(three, (0.0, h, -h))
    assert float(slope) == pytest.approx(float(above - below) / (2 * h), rel=1e-5)
    assert float(curve) == pytest.approx(float(more - less) / (2 * h), rel=1e-4)


def test_the_shallowest_features_are_told_by_the_sampler_and_come_last(told):
    parts = encoder(SIZE)

    @jax.jit
    def by_parts(frozen, learned, prefix, points, mask):
        fixed = frozen["image_encoder"]
        after = adapted_blocks(parts, fixed, NETWORK.adapter, learned["adapter"], prefix, 4)
        first, *deeper = [parts.neck(fixed, x) for x in after]
        first = SelfSampler(SIZE).apply({"params": learned["sampler"]}, first, points)
        own, scales = {"params": learned["decoder"]}, [*deeper[::-1], first]
        return FlexibleDecoder(SIZE).apply(own, scales, mask, still=True)

    frozen, learned, pixels, points, mask = told
    given = frozen, learned, ENCODE(frozen, pixels), points, mask
    np.testing.assert_allclose(APPLY(*given), by_parts(*given), atol=1e-4)


def test_with_a_key_features_are_left_out_and_without_one_none(told):
    frozen, learned, pixels, points, mask = told
    given = frozen, learned, ENCODE(frozen, pixels), points, mask
    one, again, two = (APPLY(*given, key=jax.random.key(n)) for n in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - two).max() > 1e-4 and np.abs(one - APPLY(*given)).max() > 1e-4
