"""The mask decoder of Segment Anything: prompts and image attend to each other, then masks come
out.

Tokens for the masks and their quality stand before the prompts' own; after two rounds of attention
both ways each mask token becomes the weights of a linear map over upsampled image features.
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmeta.models.sam.attention import attend, scaled
from jaxmeta.models.sam.layers import MLP, NORM, Dense, LayerNorm, TransposedConv, gelu
from jaxmeta.models.sam.size import Size

ROUNDS = 2
MASKS = 4  # the first where one is asked for, the others where a prompt is ambiguous

Vectors = Float[Array, "N _ P"]


class CrossAttention(nn.Module):
    """Attention from some vectors to others, inside `width` channels."""

    width: int
    num_heads: int

    @nn.compact
    def __call__(self, q: Vectors, k: Vectors, v: Vectors) -> Vectors:
        n, _, features = q.shape
        each = self.width // self.num_heads

        def heads(x, name):
            x = Dense(self.width, name=name)(x).reshape(n, -1, self.num_heads, each)
            return x.transpose(0, 2, 1, 3).reshape(n * self.num_heads, -1, each)

        out = attend(scaled(heads(q, "q_proj")), heads(k, "k_proj"), heads(v, "v_proj"))
        out = out.reshape(n, self.num_heads, -1, each).transpose(0, 2, 1, 3)
        return Dense(features, name="out_proj")(out.reshape(n, -1, self.width))


class Round(nn.Module):
    """Prompts attend to each other, to the image, pass an MLP, and the image attends to them."""

    size: Size
    first: bool  # whose self-attention sees no positions, and replaces what it saw

    @nn.compact
    def __call__(self, prompts, image, marks, places):
        def norm(x, number):
            return LayerNorm(epsilon=1e-5, name=f"norm{number}")(x)

        features = self.size.features
        itself = CrossAttention(features, self.size.num_heads, name="self_attn")
        if self.first:
            prompts = itself(prompts, prompts, prompts)
        else:
            seen = prompts + marks
            prompts = prompts + itself(seen, seen, prompts)
        prompts = norm(prompts, 1)
        attend = CrossAttention(
            features // 2, self.size.num_heads, name="cross_attn_token_to_image"
        )
        prompts = norm(prompts + attend(prompts + marks, image + places, image), 2)
        think = MLP((self.size.hidden, features), ("lin1", "lin2"), nn.relu, name="mlp")
        prompts = norm(prompts + think(prompts), 3)
        attend = CrossAttention(
            features // 2, self.size.num_heads, name="cross_attn_image_to_token"
        )
        image = norm(image + attend(image + places, prompts + marks, prompts), 4)
        return prompts, image


class TwoWay(nn.Module):
    """All rounds, and a last attention of the prompts to the image."""

    size: Size

    @nn.compact
    def __call__(self, marks: Vectors, image: Vectors, places: Vectors) -> tuple[Vectors, Vectors]:
        prompts = marks
        for number in range(ROUNDS):
            turn = Round(self.size, number == 0, name=f"layers_{number}")
            prompts, image = turn(prompts, image, marks, places)
        attend = CrossAttention(
            self.size.features // 2, self.size.num_heads, name="final_attn_token_to_image"
        )
        prompts = prompts + attend(prompts + marks, image + places, image)
        return LayerNorm(epsilon=1e-5, name="norm_final_attn")(prompts), image


class MaskDecoder(nn.Module):
    """From an image embedding and encoded prompts to logits of four masks, and how good each may
    be."""

    size: Size

    @nn.compact
    def __call__(
        self,
        embedding: Float[Array, "N G G P"],
        sparse: Vectors,
        dense: Float[Array, "N G G P"],
        places: Float[Array, "G G P"],
    ) -> tuple[Float[Array, "N h w 4"], Float[Array, "N 4"]]:
        n, height, width, features = embedding.shape
        vector = nn.initializers.normal(1.0)
        own = [
            self.param("iou_token", vector, (1, features)),
            self.param("mask_tokens", vector, (MASKS, features)),
        ]
        own = jnp.broadcast_to(jnp.concatenate(own)[None], (n, 1 + MASKS, features))
        marks = jnp.concatenate([own, sparse], axis=1)
        image = (embedding + dense).reshape(n, -1, features)
        spots = jnp.broadcast_to(places.reshape(1, -1, features), image.shape)
        marks, image = TwoWay(self.size, name="transformer")(marks, image, spots)
        image = image.reshape(embedding.shape)
        image = TransposedConv(features // 4, name="output_upscaling_0")(image)
        image = gelu(LayerNorm(epsilon=NORM, name="output_upscaling_1")(image))
        image = gelu(TransposedConv(features // 8, name="output_upscaling_3")(image))
        layers = ("layers_0", "layers_1", "layers_2")
        weights = [
            MLP(
                (features, features, features // 8),
                layers,
                nn.relu,
                name=f"output_hypernetworks_mlps_{number}",
            )(marks[:, 1 + number])
            for number in range(MASKS)
        ]
        logits = jnp.einsum("nhwc,nmc->nhwm", image, jnp.stack(weights, axis=1))
        judge = MLP((features, features, MASKS), layers, nn.relu, name="iou_prediction_head")
        return logits, judge(marks[:, 0])
