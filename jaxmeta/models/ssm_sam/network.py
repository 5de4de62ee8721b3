"""The network of SSM-SAM: a frozen image encoder with trained adapters, sampler and decoder.

Features are taken after four depths of the encoder, each through the same frozen neck. The
shallowest is told by the self-sampler; all four go to the decoder. What is trained is one tree of
three parts; the frozen weights are an argument of their own.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxmeta.models.sam.adapters import Adapter, Prefix, adapted_blocks, before_adapters
from jaxmeta.models.sam.encoder import encoder
from jaxmeta.models.sam.size import Size
from jaxmeta.models.ssm_sam.decoder import FlexibleDecoder
from jaxmeta.models.ssm_sam.sampler import SelfSampler, shared_vectors

DEPTHS = 4


class SsmSam(NamedTuple):
    """init(key) -> learned; encode(frozen, pixels) -> Prefix; apply(frozen, learned, prefix,
    points, mask, key=None) -> logits [N, S, S].

    Of each image `points` [N, K, 2] are (x, y) in pixels, and `mask` [N, G, G] is its support's
    halo on the tokens' grid. With a key there is dropout.
    """

    size: Size
    adapter: Adapter
    init: Callable[[Array], PyTree]
    encode: Callable[[PyTree, Array], Prefix]
    apply: Callable[..., Array]


def depths(size: Size) -> tuple[int, ...]:
    """Number the blocks after which features are taken: the ends of four equal parts."""
    return tuple((n + 1) * size.depth // DEPTHS - 1 for n in range(DEPTHS))


def self_sampling(
    size: Size,
    adapter: Adapter,
    *,
    attends: bool = True,
    dropout: float = 0.2,
    vectors: Callable[..., Float[Array, "N L D"]] = shared_vectors,
) -> SsmSam:
    """Make the network; `vectors` makes what its sampler has learned of each image.

    A decoder that does not attend is not told the support's mask.
    """
    parts, taken = encoder(size), depths(size)
    sampler = SelfSampler(size, vectors)
    decoder = FlexibleDecoder(size, attends, dropout)

    def init(key) -> dict[str, Any]:
        own, points, masks = jax.random.split(key, 3)
        grid = jnp.zeros((1, size.grid, size.grid, size.features))
        return {
            "adapter": adapter.init(own),
            "sampler": sampler.init(points, grid, jnp.zeros((1, 1, 2)))["params"],
            "decoder": decoder.init(masks, [grid] * DEPTHS, grid[..., 0], still=True)["params"],
        }

    def encode(frozen, pixels: Float[Array, "N S S 3"]) -> Prefix:
        fixed = frozen["image_encoder"]
        prefix = before_adapters(parts, fixed, adapter, pixels, taken)
        return prefix._replace(passed=tuple(parts.neck(fixed, x) for x in prefix.passed))

    def apply(frozen, learned, prefix, points, mask, *, key=None) -> Float[Array, "N S S"]:
        fixed = frozen["image_encoder"]
        after = adapted_blocks(parts, fixed, adapter, learned["adapter"], prefix, size.depth)
        scales = [*prefix.passed]
        scales += [parts.neck(fixed, after[n - adapter.blocks[0]]) for n in taken[len(scales) :]]
        scales[0] = sampler.apply({"params": learned["sampler"]}, scales[0], points)
        drop = None if key is None else {"dropout": key}
        return decoder.apply(
            {"params": learned["decoder"]}, scales[::-1], mask, still=key is None, rngs=drop
        )

    return SsmSam(size, adapter, init, encode, apply)
