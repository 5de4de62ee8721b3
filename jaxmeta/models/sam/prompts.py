"""What points at a structure: clicks, boxes and coarse masks, and how they become vectors.

A place is described by sines and cosines of random frequencies (Tancik et al. 2020, arXiv
2006.10739); learned vectors say whether it is a click inside, outside, or a corner of a box. A mask
is shrunk to the tokens' grid and added to the image.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer

from jaxmeta.models.sam.layers import NORM, Dense, LayerNorm, Patches, gelu
from jaxmeta.models.sam.size import Size

INSIDE, OUTSIDE, PADDING = 1, 0, -1


class Prompts(NamedTuple):
    """Of N images, any of these; places are pixels (x, y) of the network's input.

    Of images with fewer clicks than others the rest are PADDING.
    """

    points: Float[Array, "N K 2"] | None = None
    labels: Integer[Array, "N K"] | None = None  # INSIDE, OUTSIDE or PADDING
    boxes: Float[Array, "N 4"] | None = None  # x, y of one corner, then of the opposite one
    masks: Float[Array, "N h w"] | None = None  # logits, at a quarter of the input's size or so


class PromptEncoder(nn.Module):
    """Turns prompts into sparse vectors [N, K, P] and a dense map [N, G, G, P]."""

    size: Size

    def setup(self):
        features, vector = self.size.features, nn.initializers.normal(1.0)
        self.frequencies = self.param("frequencies", vector, (2, features // 2))
        self.kinds = [self.param(f"point_embeddings_{n}", vector, (1, features)) for n in range(4)]
        self.not_a_point = self.param("not_a_point_embed", vector, (1, features))
        self.no_mask = self.param("no_mask_embed", vector, (1, features))
        self.shrink = MaskShrinker(features, name="mask_downscaling")

    def __call__(self, prompts: Prompts, count: int):
        """Encode the prompts of `count` images."""
        sparse = jnp.zeros((count, 0, self.size.features))
        if prompts.points is not None:
            sparse = self.clicks(prompts)
        if prompts.boxes is not None:
            corners = self.places(prompts.boxes.reshape(count, 2, 2))
            corners += jnp.concatenate(self.kinds[2:])[None]
            sparse = jnp.concatenate([sparse, corners], axis=1)
        if prompts.masks is not None:
            return sparse, self.shrink(prompts.masks[..., None])
        grid = self.size.grid
        dense = jnp.broadcast_to(self.no_mask[None, None], (count, grid, grid, self.size.features))
        return sparse, dense

    def clicks(self, prompts: Prompts) -> Float[Array, "N K P"]:
        """Encode clicks; without a box beside them, one that is none ends the list, as in
        training."""
        points, labels = prompts.points, prompts.labels
        if prompts.boxes is None:
            points = jnp.pad(points, ((0, 0), (0, 1), (0, 0)))
            labels = jnp.pad(labels, ((0, 0), (0, 1)), constant_values=PADDING)
        labels = labels[..., None]
        outside, inside = (kind[None] for kind in self.kinds[:2])
        known = self.places(points) + jnp.where(labels == INSIDE, inside, outside)
        return jnp.where(labels == PADDING, self.not_a_point[None], known)

    def places(self, at: Float[Array, "N K 2"]) -> Float[Array, "N K P"]:
        """Describe places given in pixels, by the middle of the pixel."""
        return self.waves((at + 0.5) / self.size.image)

    def waves(self, at: Float[Array, "*any 2"]) -> Float[Array, "*any P"]:
        """Describe places given from 0 to 1, by frequencies that are drawn once and never
        learned."""
        angles = 2 * jnp.pi * ((2 * at - 1) @ jax.lax.stop_gradient(self.frequencies))
        return jnp.concatenate([jnp.sin(angles), jnp.cos(angles)], axis=-1)

    def grid_places(self) -> Float[Array, "G G P"]:
        """Describe the middle of every token."""
        along = (jnp.arange(self.size.grid) + 0.5) / self.size.grid
        columns, rows = jnp.meshgrid(along, along)
        return self.waves(jnp.stack([columns, rows], axis=-1))


class MaskShrinker(nn.Module):
    """A mask at four times the grid's size becomes features on the grid."""

    features: int

    @nn.compact
    def __call__(self, mask: Float[Array, "N H W 1"]) -> Float[Array, "N H//4 W//4 P"]:
        for number, channels in ((0, 4), (3, 16)):
            mask = Patches(channels, 2, name=f"layers_{number}")(mask)
            mask = gelu(LayerNorm(epsilon=NORM, name=f"layers_{number + 1}")(mask))
        return Dense(self.features, name="layers_6")(mask)
