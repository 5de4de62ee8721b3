"""Adapters: what they add, where they begin, and what of an image never changes under them."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.methods.ssm_sam.released import mixed_tokens
from jaxmeta.models.sam import SIZES
from jaxmeta.models.sam.adapters import (
    adapted_blocks,
    before_adapters,
    bottleneck,
    high_frequencies,
    high_pass,
    low_rank,
)
from jaxmeta.models.sam.encoder import encoder
from jaxmeta.models.sam.layers import gelu
from tests.helpers.by_hand import begun, dense, drawn
from tests.helpers.sizes import SMALL

KINDS = {"high_pass": high_pass, "low_rank": low_rank, "bottleneck": bottleneck}
PARTS = encoder(SMALL)
FROZEN = begun(PARTS.init)
TOKENS = drawn(2, 3, 3, SMALL.width, seed=1)
IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 3)), jnp.float32)


def count(tree):
    return sum(a.size for a in jax.tree.leaves(tree))


def moved(tree, by=0.05):
    """Leave the zeros that adapters begin with."""
    return jax.tree.map(
        lambda a: a + by * jnp.sin(1.0 + jnp.arange(a.size, dtype=jnp.float32)).reshape(a.shape),
        tree,
    )


def prefix_of(adapter):
    """See the images as far as the first adapted block."""
    return jax.jit(lambda image: before_adapters(PARTS, FROZEN, adapter, image))(IMAGE)


@jax.jit
def plain(image):
    tokens = PARTS.place(FROZEN, PARTS.embed(FROZEN, image))
    for number in range(SMALL.depth):
        tokens = PARTS.block(FROZEN, number, tokens)
    return tokens


def test_the_published_adapter_has_its_number_of_parameters():
    adapter = high_pass(SIZES["vit-b"])
    assert count(jax.eval_shape(adapter.init, jax.random.key(0))) == 63_312


@pytest.mark.parametrize("last", [None, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_every_adapted_block_is_adapted_and_no_other(kind, last):
    adapter = KINDS[kind](SMALL, last=last)
    assert adapter.blocks == ((0, 1) if last is None else (1,))
    own = jax.jit(adapter.init)(jax.random.key(1))
    prefix = prefix_of(adapter)
    run = jax.jit(lambda v: adapted_blocks(PARTS, FROZEN, adapter, v, prefix, SMALL.depth))
    before, after = run(own), run(moved(own))
    assert len(before) == len(adapter.blocks)
    for a, b in zip(before, after, strict=True):
        assert np.abs(a - b).max() > 1e-4
    if kind != "high_pass":  # begins as the network was
        np.testing.assert_allclose(before[-1], plain(IMAGE), atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_each_block_has_weights_of_its_own_that_change_nothing_before_it(kind):
    adapter = KINDS[kind](SMALL)
    own = begun(adapter.init)
    prefix = prefix_of(adapter)
    name = "tune_1" if kind == "high_pass" else "block_1"
    changed = own | {name: moved(own[name], 0.5)}
    run = jax.jit(lambda v: adapted_blocks(PARTS, FROZEN, adapter, v, prefix, SMALL.depth))
    one, other = run(own), run(changed)
    np.testing.assert_array_equal(one[0], other[0])
    assert np.abs(one[1] - other[1]).max() > 1e-4


def test_the_prefix_before_the_last_blocks_is_the_network_s_own():
    adapter = low_rank(SMALL, last=1)
    prefix = prefix_of(adapter)
    first = jax.jit(lambda i: PARTS.block(FROZEN, 0, PARTS.place(FROZEN, PARTS.embed(FROZEN, i))))
    np.testing.assert_allclose(prefix.tokens, first(IMAGE), atol=1e-6)
    assert prefix.patches == prefix.edges == ()  # nothing is kept that nobody looks at


@pytest.mark.parametrize("mixed", [False, True])
def test_a_token_is_prompted_by_its_own_patch_unless_tokens_are_mixed(mixed):
    """As released, row 1 column 2 of the embedding is spread over the channels of other tokens."""
    adapter = high_pass(SMALL, width=3)
    adapter = mixed_tokens(adapter) if mixed else adapter
    own = begun(adapter.init)
    prefix = prefix_of(adapter)
    other = prefix._replace(patches=prefix.patches.at[:, 1, 2].add(1.0))
    run = jax.jit(lambda each: adapter.before(own, adapter.encode(own, each), 0))
    seen = run(prefix), run(other)
    changed = np.abs(seen[0] - seen[1]).max((0, 3)) > 1e-6
    only = np.zeros_like(changed)
    only[1, 2] = True
    assert changed[1, 2] or mixed
    assert (changed == only).all() != mixed


def test_high_frequencies_drop_what_is_smooth_and_keep_what_is_fine():
    rows = jnp.arange(32.0)
    slow = jnp.cos(2 * jnp.pi * 3 * rows / 32)[None, :, None, None] * jnp.ones((1, 32, 32, 1))
    fast = jnp.cos(2 * jnp.pi * 13 * rows / 32)[None, :, None, None] * jnp.ones((1, 32, 32, 1))
    np.testing.assert_allclose(high_frequencies(slow + 5), 0, atol=1e-5)
    np.testing.assert_allclose(high_frequencies(fast + slow), jnp.abs(fast), atol=1e-5)


def test_the_square_of_low_frequencies_is_the_published_one():
    """At 1024 the central 512 x 512 goes: from -256 up to 255, so -256 goes and 256 stays."""
    n, at = 64, jnp.arange(64.0)
    for cycles, left in (
        (15, 0.0),
        (16, 0.5),
        (17, 1.0),
    ):  # a half of cos(16) is at -16, which goes
        wave = jnp.cos(2 * jnp.pi * cycles * at / n)[None, :, None, None] * jnp.ones((1, n, n, 1))
        np.testing.assert_allclose(high_frequencies(wave).max(), left, atol=1e-4)


def test_low_rank_adds_to_queries_and_values_and_to_no_key():
    adapter, x = low_rank(SMALL), TOKENS
    own = begun(adapter.init)
    q, k, v = jnp.split(adapter.taps(own, 1).qkv(x), 3, axis=-1)
    pairs = own["block_1"]
    np.testing.assert_allclose(q, x @ pairs["q"]["down"] @ pairs["q"]["up"], atol=1e-5)
    np.testing.assert_allclose(v, x @ pairs["v"]["down"] @ pairs["v"]["up"], atol=1e-5)
    assert not k.any()


def test_a_bottleneck_beside_the_attention_is_whole_and_beside_the_perceptron_halved():
    adapter, x = bottleneck(SMALL), TOKENS
    own = begun(adapter.init)
    taps = adapter.taps(own, 1)
    for name, tap, share in (("space", taps.attention, 1.0), ("mlp", taps.mlp, 0.5)):
        of = own["block_1"][name]
        np.testing.assert_allclose(
            tap(x), share * dense(of["up"], gelu(dense(of["down"], x))), atol=1e-5
        )


@pytest.mark.parametrize("mixed", [False, True])
def test_high_pass_prompts_are_the_published_formula_added_before_each_block(mixed):
    adapter = high_pass(SMALL, width=3)
    adapter = mixed_tokens(adapter) if mixed else adapter
    own = begun(adapter.init)
    prefix = prefix_of(adapter)
    patches = np.asarray(PARTS.embed(FROZEN, IMAGE))
    if mixed:  # [H, W, D] read as [D, H, W]
        patches = patches.reshape(2, SMALL.width, SMALL.grid, SMALL.grid).transpose(0, 2, 3, 1)
    edges = np.asarray(high_frequencies(IMAGE)).reshape(2, 4, 4, 4, 4, 3)  # n, row, y, column, x, c
    high = np.einsum("nrycxk,yxkw->nrcw", edges, own["high"]["kernel"]) + np.asarray(
        own["high"]["bias"]
    )
    shared, tokens = high + dense(own["low"], patches), prefix.tokens
    found = jax.jit(lambda own: adapted_blocks(PARTS, FROZEN, adapter, own, prefix, SMALL.depth))(
        own
    )
    for number, after in enumerate(found):
        prompt = dense(own["up"], gelu(dense(own[f"tune_{number}"], shared)))
        tokens = jax.jit(partial(PARTS.block, FROZEN, number))(tokens + prompt)
        np.testing.assert_allclose(after, tokens, atol=1e-4)
