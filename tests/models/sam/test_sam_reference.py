"""Every activation and output of Segment Anything against the published code's, on random
weights."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.models.sam import Prompts, sam
from jaxmeta.models.sam.images import fitted, layout_of, restored
from jaxmeta.models.sam.weights import from_leaves, leaves
from tests.helpers.sizes import reference

KINDS = ("points", "box", "points_box_mask", "none")
RESTORED = jax.jit(lambda logits: restored(logits, layout_of(320, 250, 256)))
close = dict(atol=1e-4, rtol=0)  # blocks reach 3; the largest difference seen is 4e-6


@pytest.fixture(scope="module")
def known():
    size, values = reference()
    weights = {k.removeprefix("weights/"): v for k, v in values.items() if k.startswith("weights/")}
    return (
        sam(size),
        jax.tree.map(jnp.asarray, from_leaves(leaves(weights.__getitem__, size))),
        values,
    )


@pytest.fixture(scope="module")
def encoded(known):
    network, variables, values = known
    pixels = jnp.asarray(values["stage/preprocessed_nchw"].transpose(0, 2, 3, 1))
    return jax.jit(network.encode)(variables, pixels)


def prompts_of(kind, number, values):
    chosen, given = slice(number, number + 1), {}
    if "points" in kind:
        given["points"] = values["input/points_xy"][chosen]
        given["labels"] = values["input/point_labels"][chosen].astype(np.int32)
    if "box" in kind:
        given["boxes"] = values["input/boxes_xyxy"][chosen]
    if "mask" in kind:
        given["masks"] = values["input/masks_nchw"][chosen, 0]
    return jax.tree.map(jnp.asarray, Prompts(**given))


def test_images_are_normalized_and_padded_alike(known):
    _, _, values = known
    colors = jnp.asarray(values["input/image_rgb_0_255_nchw"].transpose(0, 2, 3, 1))
    seen = jax.jit(lambda colors: fitted(colors, layout_of(320, 250, 256)))(colors)
    np.testing.assert_allclose(
        seen, values["stage/preprocessed_nchw"].transpose(0, 2, 3, 1), **close
    )


def test_blocks_agree_one_by_one(known):
    network, variables, values = known
    own, parts = variables["image_encoder"], network.parts
    pixels = jnp.asarray(values["stage/preprocessed_nchw"].transpose(0, 2, 3, 1))

    @jax.jit
    def every_block(own, pixels):
        tokens = [parts.place(own, parts.embed(own, pixels))]
        for number in range(network.size.depth):
            tokens.append(parts.block(own, number, tokens[-1]))
        return tokens[1:], parts.neck(own, tokens[-1])

    blocks, found = every_block(own, pixels)
    for number, tokens in enumerate(blocks):
        np.testing.assert_allclose(tokens, values[f"stage/block{number}_nhwc"], **close)
    wanted = values["stage/image_embedding_nchw"].transpose(0, 2, 3, 1)
    np.testing.assert_allclose(found, wanted, **close)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_prompts_are_encoded_alike(known, kind, number):
    network, variables, values = known
    given = prompts_of(kind, number, values)
    sparse, dense = jax.jit(lambda v, given: network.prompt(v, given, 1))(variables, given)
    of = f"output/{kind}/{number}"
    np.testing.assert_allclose(sparse, values[f"{of}/sparse"], **close)
    np.testing.assert_allclose(dense, values[f"{of}/dense"].transpose(0, 2, 3, 1), **close)


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize("kind", KINDS)
def test_masks_and_their_quality_agree(known, encoded, kind, number):
    network, variables, values = known
    given = prompts_of(kind, number, values)

    def decoded(variables, image, given):
        one, several = (network.decode(variables, image, given, several=s) for s in (False, True))
        return dict(single=one, multi=several)

    found = jax.jit(decoded)(variables, encoded[number : number + 1], given)
    for name, (logits, quality) in found.items():
        of = f"output/{kind}/{number}/{name}"
        wanted = values[f"{of}/low_res_logits"].transpose(0, 2, 3, 1)
        scale = np.abs(wanted).max()  # logits of random weights hardly leave zero
        np.testing.assert_allclose(logits / scale, wanted / scale, **close)
        np.testing.assert_allclose(quality, values[f"{of}/iou"], **close)
        if (full := f"{of}/full_logits") in values:
            seen = RESTORED(logits) / scale
            np.testing.assert_allclose(seen, values[full].transpose(0, 2, 3, 1) / scale, **close)
