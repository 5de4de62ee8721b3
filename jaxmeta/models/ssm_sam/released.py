"""What the code released with SSM-SAM has in its network beside what its paper needs.

For comparison, for counting, and for its files: `network.py` knows nothing of it.
"""

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxmeta.models.sam.decoder import CrossAttention
from jaxmeta.models.ssm_sam import mask_attention, sampler
from jaxmeta.models.ssm_sam.network import SsmSam


def in_turn(copies: int) -> Callable[..., Float[Array, "N L D"]]:
    """Learn as many vectors as a batch has images, for each its own; others take them in turn.

    The released code fails at batches of another size.
    """

    def vectors(module: nn.Module, images: int, width: int) -> Float[Array, "N L D"]:
        learned = module.param("learned", sampler.NORMAL, (copies, sampler.LEARNED, width))
        return learned[jnp.arange(images) % copies]

    return vectors


def idle_attention(network: SsmSam) -> SsmSam:
    """Have the attentions that the released code has and never calls: one in each round of the
    sampler, and one in the decoder."""
    size = network.size
    token = jnp.zeros((1, 1, size.features))

    def attention(width: int, key: Array) -> PyTree:
        return CrossAttention(width, size.num_heads).init(key, token, token, token)["params"]

    def init(key: Array) -> PyTree:
        learned = network.init(key)
        keys = jax.random.split(jax.random.fold_in(key, 1), sampler.ROUNDS + 1)
        rounds = {
            name: of | {"cross_attn_token_to_image": attention(size.features // 2, own)}
            for (name, of), own in zip(learned["sampler"].items(), keys[1:], strict=True)
        }
        last = {f"layers_{mask_attention.ROUNDS}": attention(size.features, keys[0])}
        under = learned["decoder"]["mask_attention"] | last
        decoder = learned["decoder"] | {"mask_attention": under}
        return learned | {"sampler": rounds, "decoder": decoder}

    return network._replace(init=init)
