"""The image encoder of Segment Anything: a plain vision transformer (arXiv 2203.16527).

Most blocks attend within windows, a few to the whole image; positions enter as a table added to the
tokens and, in every block, as a tilt by relative rows and columns. The encoder is given in parts,
so that what stands before the first adapted block is computed once per image, and adapters reach in
without a line here that knows them.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxmeta.models.sam.attention import attend, interpolation, relative, scaled
from jaxmeta.models.sam.layers import (
    MLP,
    NORM,
    Convolution3,
    Dense,
    LayerNorm,
    Patches,
    gelu,
)
from jaxmeta.models.sam.size import Size

Tokens = Float[Array, "N H W D"]


def nothing(x: Array) -> float:
    """Add nothing."""
    return 0.0


class Taps(NamedTuple):
    """What an adapter adds inside a block, each a function of what stands there."""

    qkv: Callable[[Array], Any] = nothing  # normalized tokens -> beside the projection to q, k, v
    attention: Callable[[Array], Any] = nothing  # the attention's output -> beside it
    mlp: Callable[[Array], Any] = nothing  # normalized tokens -> beside the perceptron


class Attention(nn.Module):
    """Self-attention over the tokens of each image, or window, with relative positions."""

    heads: int
    grid: int  # of the tables of relative positions

    @nn.compact
    def __call__(self, x: Tokens, more: Callable) -> Tokens:
        n, height, width, channels = x.shape
        each = channels // self.heads
        qkv = Dense(3 * channels, name="qkv")(x) + more(x)
        qkv = qkv.reshape(n, height * width, 3, self.heads, each).transpose(2, 0, 3, 1, 4)
        q, k, v = qkv.reshape(3, n * self.heads, height * width, each)
        length = 2 * self.grid - 1
        rows, columns = (
            self.param(f"rel_pos_{side}", nn.initializers.zeros, (length, each)) for side in "hw"
        )
        tilt = relative(q.reshape(-1, height, width, each), rows, columns)
        out = attend(scaled(q), k, v, tilt).reshape(n, self.heads, height, width, each)
        return Dense(channels, name="proj")(out.transpose(0, 2, 3, 1, 4).reshape(x.shape))


class Block(nn.Module):
    """x + attention(norm(x)), then x + perceptron(norm(x)); `window` 0 sees the whole image."""

    heads: int
    window: int
    grid: int

    @nn.compact
    def __call__(self, x: Tokens, taps: Taps = Taps()) -> Tokens:
        channels = x.shape[-1]
        seen = LayerNorm(epsilon=NORM, name="norm1")(x)
        attention = Attention(self.heads, self.window or self.grid, name="attn")
        if self.window:
            windows = to_windows(seen, self.window)
            out = from_windows(attention(windows, taps.qkv), self.window, x.shape)
        else:
            out = attention(seen, taps.qkv)
        x = x + out + taps.attention(out)
        seen = LayerNorm(epsilon=NORM, name="norm2")(x)
        mlp = MLP((4 * channels, channels), ("lin1", "lin2"), gelu, name="mlp")
        return x + mlp(seen) + taps.mlp(seen)


class Neck(nn.Module):
    """From tokens to the image embedding: two convolutions, each normalized over channels."""

    features: int

    @nn.compact
    def __call__(self, x: Tokens) -> Float[Array, "N H W P"]:
        x = Dense(self.features, use_bias=False, name="neck_0")(x)
        x = LayerNorm(epsilon=NORM, name="neck_1")(x)
        x = Convolution3(self.features, name="neck_2")(x)
        return LayerNorm(epsilon=NORM, name="neck_3")(x)


class Encoder(NamedTuple):
    """The encoder in parts; `embedding` is the whole of it."""

    init: Callable[[Array], PyTree]
    embed: Callable[..., Tokens]  # (variables, image) -> tokens, without positions
    place: Callable[..., Tokens]  # (variables, tokens) -> tokens with their positions
    block: Callable[..., Tokens]  # (variables, number, tokens, taps) -> tokens
    neck: Callable[..., Array]  # (variables, tokens) -> image embedding


def encoder(size: Size) -> Encoder:
    """Make the encoder; images of another side than `size.image` are seen by interpolated
    tables."""
    patches = Patches(size.width, size.patch)
    blocks = [
        Block(size.heads, 0 if n in size.whole else size.window, size.grid)
        for n in range(size.depth)
    ]
    neck = Neck(size.features)

    def init(key):
        keys = jax.random.split(key, size.depth + 2)
        tokens = jnp.zeros((1, size.grid, size.grid, size.width))
        pixels = jnp.zeros((1, size.patch, size.patch, 3))
        made = {
            "pos_embed": jnp.zeros((size.grid, size.grid, size.width)),
            "patch_embed": {"proj": patches.init(keys[0], pixels)["params"]},
            **neck.init(keys[1], tokens)["params"],
        }
        for number, (module, key) in enumerate(zip(blocks, keys[2:], strict=True)):
            made[f"blocks_{number}"] = module.init(key, tokens)["params"]
        return made

    def embed(variables, image):
        return patches.apply({"params": variables["patch_embed"]["proj"]}, image)

    def place(variables, tokens):
        return tokens + resized(variables["pos_embed"], *tokens.shape[1:3])[None]

    def block(variables, number, tokens, taps=Taps()):
        return blocks[number].apply({"params": variables[f"blocks_{number}"]}, tokens, taps)

    def last(variables, tokens):
        own = {name: value for name, value in variables.items() if name.startswith("neck_")}
        return neck.apply({"params": own}, tokens)

    return Encoder(init, embed, place, block, last)


def embedding(size: Size, parts: Encoder, variables: PyTree, image: Array) -> Array:
    """Encode images [N, S, S, 3] that are normalized and padded."""
    tokens = parts.place(variables, parts.embed(variables, image))
    for number in range(size.depth):
        tokens = parts.block(variables, number, tokens)
    return parts.neck(variables, tokens)


def resized(table: Float[Array, "G G D"], height: int, width: int) -> Float[Array, "H W D"]:
    """Interpolate a table of positions linearly, where the grid is another."""
    if table.shape[:2] == (height, width):
        return table
    rows, columns = (interpolation(*pair) for pair in zip(table.shape, (height, width)))
    return jnp.einsum("Hh,hwd,Ww->HWd", rows, table, columns)


def to_windows(x: Tokens, side: int) -> Float[Array, "M S S D"]:
    """Cut the image into windows, zeros added below and on the right: as keys, these count."""
    n, height, width, channels = x.shape
    x = jnp.pad(x, ((0, 0), (0, -height % side), (0, -width % side), (0, 0)))
    high, wide = x.shape[1] // side, x.shape[2] // side
    x = x.reshape(n, high, side, wide, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n * high * wide, side, side, channels)


def from_windows(windows: Float[Array, "M S S D"], side: int, shape: tuple[int, ...]) -> Tokens:
    """Put windows together again to tokens of this shape."""
    n, height, width, channels = shape
    high, wide = -(-height // side), -(-width // side)
    x = windows.reshape(n, high, wide, side, side, channels).transpose(0, 1, 3, 2, 4, 5)
    return x.reshape(n, high * side, wide * side, channels)[:, :height, :width]
