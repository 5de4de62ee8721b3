"""Each part of SSM-SAM is its formula, written out again."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import convolve1d, zoom

from jaxmeta.models.sam.decoder import CrossAttention
from jaxmeta.models.ssm_sam.blur import halo
from jaxmeta.models.ssm_sam.decoder import FlexibleDecoder
from jaxmeta.models.ssm_sam.mask_attention import MaskAttention
from jaxmeta.models.ssm_sam.points import features_at
from jaxmeta.models.ssm_sam.sampler import SelfSampler
from tests.helpers.by_hand import begun, dense, drawn, norm
from tests.helpers.sizes import SMALL

HALO = jax.jit(halo)


def test_the_halo_is_one_wide_blur_and_three_narrow_ones_the_structure_set_to_one_after_each():
    """At 64 pixels the kernels have 13 and 7; scipy's "mirror" is OpenCV's default border."""
    mask = np.zeros((1, 64, 64), np.uint8)
    mask[0, 3:20, 30:41] = 1

    def blurred(image, kernel):
        sigma, at = 0.3 * ((kernel - 1) * 0.5 - 1) + 0.8, np.arange(kernel) - kernel // 2
        weights = np.exp(-(at**2) / (2 * sigma**2))
        for axis in (0, 1):
            image = convolve1d(image, weights / weights.sum(), axis=axis, mode="mirror")
        return np.where(mask[0] > 0, 1.0, image)

    value = mask[0].astype(float)
    for kernel in (13, 7, 7, 7):
        value = blurred(value, kernel)
    wanted = (value - value.min()) / (value.max() - value.min())
    np.testing.assert_allclose(HALO(jnp.asarray(mask))[0], wanted, atol=1e-5)


def test_a_halo_reaches_from_0_to_1_where_a_structure_fills_all_but_a_corner():
    mask = jnp.ones((1, 64, 64), jnp.uint8).at[0, :3, :3].set(0)
    soft = np.asarray(HALO(mask))
    np.testing.assert_allclose([soft.min(), soft.max()], [0, 1], atol=1e-6)


def test_mask_attention_is_its_formula():
    x, mask = drawn(2, 4, 4, SMALL.features), jnp.abs(drawn(2, 4, 4, seed=1))
    module = MaskAttention(SMALL)
    own = begun(partial(module.init, still=True), x, mask)["params"]
    tokens = x.reshape(2, 16, -1)
    value = jnp.broadcast_to(mask.reshape(2, 16, 1), tokens.shape)
    for number in range(2):
        look = CrossAttention(SMALL.features, SMALL.num_heads)
        key = tokens * value
        value = tokens * jax.jit(look.apply)(
            {"params": own[f"layers_{number}"]}, tokens, key, value
        )
    y = norm(own["norm1"], value + tokens)
    think = dense(own["mlp"]["lin2"], jnp.maximum(dense(own["mlp"]["lin1"], y), 0))
    wanted = norm(own["norm2"], think + y).reshape(x.shape)
    found = jax.jit(partial(module.apply, still=True))({"params": own}, x, mask)
    np.testing.assert_allclose(found, wanted, atol=1e-4)


@pytest.mark.slow
def test_the_sampler_s_second_round_goes_on_with_the_points_of_the_first():
    x, points = drawn(2, 4, 4, SMALL.features), 4 + jnp.abs(drawn(2, 3, 2, seed=1))
    module = SelfSampler(SMALL)
    own = begun(module.init, x, points)["params"]
    image, told = x.reshape(2, 16, -1), features_at(x, points, SMALL.image)
    for number in range(2):
        of = own[f"layers_{number}"]

        def look(name, width, *given, of=of):
            return jax.jit(CrossAttention(width, SMALL.num_heads).apply)(
                {"params": of[name]}, *given
            )

        asking = jnp.concatenate([jnp.tile(of["learned"], (2, 1, 1)), told], axis=1)
        heard = norm(of["norm1"], look("self_attn", SMALL.features, asking, asking, asking))
        asking = norm(of["norm2"], asking + heard)
        learned, told = asking[:, :10], asking[:, 10:]
        think = dense(of["mlp"]["lin2"], jnp.maximum(dense(of["mlp"]["lin1"], learned), 0))
        learned = norm(of["norm3"], learned + think)
        seen = look("cross_attn_image_to_token", SMALL.features // 2, image, learned, learned)
        image = norm(of["norm4"], image + seen)
    found = jax.jit(module.apply)({"params": own}, x, points)
    np.testing.assert_allclose(found, image.reshape(x.shape), atol=1e-4)


def test_the_decoder_s_head_is_enlarged_fourfold_corners_on_corners():
    x = [drawn(1, 4, 4, SMALL.features, seed=n) for n in range(4)]
    module = FlexibleDecoder(SMALL, attends=False)
    own = begun(partial(module.init, still=True), x, x[0][..., 0])
    seen = dict(still=True, capture_intermediates=lambda m, _: m.name == "head")
    found, state = jax.jit(partial(module.apply, **seen))(own, x, x[0][..., 0])
    head = np.asarray(state["intermediates"]["head"]["__call__"][0][0, ..., 0])
    np.testing.assert_allclose(found[0], zoom(head, 4, order=1), atol=1e-5)
