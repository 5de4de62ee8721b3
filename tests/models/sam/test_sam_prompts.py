"""Prompts and the decoder that hears them: each is its formula, written out again."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.models.sam.decoder import MASKS, CrossAttention, MaskDecoder, Round
from jaxmeta.models.sam.encoder import encoder
from jaxmeta.models.sam.layers import MLP, gelu
from jaxmeta.models.sam.prompts import INSIDE, OUTSIDE, PADDING, PromptEncoder, Prompts
from tests.helpers.by_hand import begun, drawn, norm
from tests.helpers.sizes import SMALL

GRID, FEATURES = SMALL.grid, SMALL.features
MODULE = PromptEncoder(SMALL)
APPLY = jax.jit(lambda own, given: MODULE.apply(own, given, 1))


@pytest.fixture(scope="module")
def own():
    coarse = Prompts(masks=jnp.zeros((1, 4 * GRID, 4 * GRID)))
    return jax.tree.map(np.asarray, begun(lambda key: MODULE.init(key, coarse, 1))["params"])


def waves(own, at):
    """Sines and cosines of a place (x, y) given in pixels, from the middle of the pixel."""
    angles = 2 * np.pi * ((2 * (np.asarray(at) + 0.5) / SMALL.image - 1) @ own["frequencies"])
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)


def test_clicks_are_their_place_and_kind_and_end_with_one_that_is_none(own):
    at, labels = [[3.0, 5.0], [9.0, 2.0], [1.0, 1.0]], [INSIDE, OUTSIDE, PADDING]
    given = Prompts(points=jnp.array([at]), labels=jnp.array([labels]))
    sparse, dense = APPLY({"params": own}, given)
    place, nothing = waves(own, at), own["not_a_point_embed"]
    wanted = [
        place[0] + own["point_embeddings_1"],
        place[1] + own["point_embeddings_0"],
        nothing,
        nothing,
    ]
    np.testing.assert_allclose(
        sparse[0], np.concatenate([np.reshape(w, (1, -1)) for w in wanted]), atol=1e-5
    )
    np.testing.assert_allclose(dense, np.broadcast_to(own["no_mask_embed"][0], dense.shape))


def test_a_box_is_its_corners_and_ends_clicks_itself(own):
    box = [2.0, 3.0, 11.0, 7.0]
    given = Prompts(
        points=jnp.array([[[3.0, 5.0]]]), labels=jnp.array([[INSIDE]]), boxes=jnp.array([box])
    )
    sparse, _ = APPLY({"params": own}, given)
    corners = waves(own, [box[:2], box[2:]])
    wanted = np.stack(
        [
            waves(own, [3.0, 5.0]) + own["point_embeddings_1"][0],
            corners[0] + own["point_embeddings_2"][0],
            corners[1] + own["point_embeddings_3"][0],
        ]
    )
    np.testing.assert_allclose(sparse[0], wanted, atol=1e-5)


def test_tokens_have_the_place_of_their_middle_columns_first(own):
    found = MODULE.apply({"params": own}, method=PromptEncoder.grid_places)
    middle = (np.arange(GRID) + 0.5) * SMALL.image / GRID - 0.5
    for row, y in enumerate(middle):
        for column, x in enumerate(middle):
            np.testing.assert_allclose(found[row, column], waves(own, [x, y]), atol=1e-5)


def test_positions_are_added_to_the_tokens():
    table, tokens = drawn(GRID, GRID, SMALL.width), drawn(2, GRID, GRID, SMALL.width, seed=1)
    found = encoder(SMALL).place({"pos_embed": table}, tokens)
    np.testing.assert_allclose(found, tokens + table[None], atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("first", [True, False])
def test_the_first_round_replaces_what_prompts_were_and_the_second_adds(first):
    given = [drawn(1, n, FEATURES, seed=k) for k, n in enumerate((3, 16, 3, 16))]
    module = Round(SMALL, first)
    own = begun(module.init, *given)["params"]
    prompts, image, marks, places = given

    def look(name, width, *given):
        return jax.jit(CrossAttention(width, SMALL.num_heads).apply)({"params": own[name]}, *given)

    if first:
        prompts = look("self_attn", FEATURES, prompts, prompts, prompts)
    else:
        seen = prompts + marks
        prompts = prompts + look("self_attn", FEATURES, seen, seen, prompts)
    prompts = norm(own["norm1"], prompts)
    half = FEATURES // 2
    prompts = norm(
        own["norm2"],
        prompts + look("cross_attn_token_to_image", half, prompts + marks, image + places, image),
    )
    think = MLP((SMALL.hidden, FEATURES), ("lin1", "lin2"), nn.relu)
    prompts = norm(own["norm3"], prompts + think.apply({"params": own["mlp"]}, prompts))
    image = norm(
        own["norm4"],
        image + look("cross_attn_image_to_token", half, image + places, prompts + marks, prompts),
    )
    found = jax.jit(module.apply)({"params": own}, *given)
    np.testing.assert_allclose(found[0], prompts, atol=1e-4)
    np.testing.assert_allclose(found[1], image, atol=1e-4)


@pytest.mark.slow
def test_each_mask_is_drawn_by_its_own_token_and_the_first_token_judges():
    square = drawn(1, GRID, GRID, FEATURES)
    module = MaskDecoder(SMALL)
    given = square, drawn(1, 2, FEATURES, seed=1), 0 * square, drawn(GRID, GRID, FEATURES, seed=2)
    own = begun(module.init, *given)["params"]
    apply = jax.jit(partial(module.apply, capture_intermediates=True))
    (logits, quality), seen = apply({"params": own}, *given)
    seen = seen["intermediates"]
    marks, _ = seen["transformer"]["__call__"][0]
    drawing = gelu(seen["output_upscaling_3"]["__call__"][0])
    layers = ("layers_0", "layers_1", "layers_2")
    for number in range(MASKS):
        mlp = MLP((FEATURES, FEATURES, FEATURES // 8), layers, nn.relu)
        name = f"output_hypernetworks_mlps_{number}"
        weights = mlp.apply({"params": own[name]}, marks[:, 1 + number])
        np.testing.assert_allclose(logits[0, ..., number], drawing[0] @ weights[0], atol=1e-4)
    judge = MLP((FEATURES, FEATURES, MASKS), layers, nn.relu)
    judged = judge.apply({"params": own["iou_prediction_head"]}, marks[:, 0])
    np.testing.assert_allclose(quality, judged, atol=1e-4)
