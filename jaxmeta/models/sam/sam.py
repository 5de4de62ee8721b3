"""Segment Anything as one value of pure functions."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxmeta.models.sam.decoder import MaskDecoder
from jaxmeta.models.sam.encoder import Encoder, embedding, encoder
from jaxmeta.models.sam.prompts import PromptEncoder, Prompts
from jaxmeta.models.sam.size import Size

PARTS = ("image_encoder", "prompt_encoder", "mask_decoder")


class Sam(NamedTuple):
    """The network; variables are a dict of its three PARTS, named as in the published checkpoints.

    encode(variables, image [N, S, S, 3]) -> embedding [N, G, G, P]: normalized, padded pixels
    decode(variables, embedding, prompts) -> (logits [N, 4 G, 4 G, M], quality [N, M]): with
    `several` the M = 3 masks that an ambiguous prompt may mean, else one
    """

    size: Size
    parts: Encoder  # of the image encoder, for adapters
    init: Callable[[Array], PyTree]
    encode: Callable[[PyTree, Array], Array]
    prompt: Callable[..., tuple[Array, Array]]
    decode: Callable[..., tuple[Array, Array]]


def sam(size: Size) -> Sam:
    """Make the network of this size."""
    parts = encoder(size)
    prompts, masks = PromptEncoder(size), MaskDecoder(size)

    def init(key) -> dict[str, Any]:
        image, prompt, mask = jax.random.split(key, 3)
        dense = jnp.zeros((1, size.grid, size.grid, size.features))
        coarse = Prompts(masks=jnp.zeros((1, 4 * size.grid, 4 * size.grid)))
        return {
            "image_encoder": parts.init(image),
            "prompt_encoder": prompts.init(prompt, coarse, 1)["params"],
            "mask_decoder": masks.init(
                mask, dense, jnp.zeros((1, 0, size.features)), dense, dense[0]
            )["params"],
        }

    def encode(variables, image: Float[Array, "N S S 3"]) -> Float[Array, "N G G P"]:
        return embedding(size, parts, variables["image_encoder"], image)

    def prompt(variables, given: Prompts, count: int):
        return prompts.apply({"params": variables["prompt_encoder"]}, given, count)

    def decode(variables, embedding, given: Prompts = Prompts(), *, several: bool = False):
        sparse, dense = prompt(variables, given, embedding.shape[0])
        named = {"params": variables["prompt_encoder"]}
        places = prompts.apply(named, method=PromptEncoder.grid_places)
        logits, quality = masks.apply(
            {"params": variables["mask_decoder"]}, embedding, sparse, dense, places
        )
        kept = slice(1, None) if several else slice(0, 1)
        return logits[..., kept], quality[..., kept]

    return Sam(size, parts, init, encode, prompt, decode)
