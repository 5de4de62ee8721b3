"""A network that reads a few labelled slices once, then segments any number of new ones.

    read    support slices, masks, heights -> memory    knows nothing of what will be asked
    decode  memory, query slices, heights  -> logits    sees the support through the memory alone

Decoupled as Iris is (Gao et al. 2025), where UniverSeg (arXiv 2304.06131) lets every query walk
through the support again. The memory holds, for every patch of the support, a key (what it looks
like), a value (that, and the mask in it) and its place; and at full resolution how the structure
and what is around it look. A query patch attends to patches that look alike and lie near:

    weight = softmax(q.k / sqrt(d) - |place - place'|^2 / (2 s^2) - (height - height')^2 / (2 t^2))

with s and t learned for each head. So at random weights it blurs the nearest masks, and learning
says where else to look. One more entry, that means nothing, takes the weight where nothing fits.
A sum over patches has no order: that of the support slices changes nothing.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer, PyTree

from jaxmeta.models.layers import max_pool
from jaxmeta.models.unet import Block

NEAREST, FARTHEST = 0.1, 0.8  # s of the first and the last head, in half sides of a slice
LEVELS = 0.15  # t, in heights of the scan
EMPTY = -1e9  # logit of a patch that only fills the shape


class Looks(NamedTuple):
    """How pixels of one kind look: mean and standard deviation of each feature."""

    mean: Float[Array, " C"]
    spread: Float[Array, " C"]


class Memory(NamedTuple):
    """What is read from a support of M patches, by R rounds of attention of A heads."""

    key: Float[Array, "R M A D"]
    value: Float[Array, "R M A D"]
    place: Float[Array, "M 2"]  # rows and columns, -1 to 1
    height: Float[Array, " M"]  # of its slice in the scan, 0 to 1; below 0 where nobody knows
    valid: Bool[Array, " M"]
    inside: Looks
    around: Looks


class Reader(NamedTuple):
    """The network as three pure functions::

        init(key) -> variables
        read(variables, image [K H W C], mask [K H W], valid [K], height [K]) -> Memory
        decode(variables, memory, image [N H W C], height [N]) -> logits [N H W 1]

    Heights are 0 in the first slice of a scan and 1 in the last, below 0 where they are not known.
    Sides of a slice must be multiples of 2^(levels - 1).
    """

    init: Callable[[Array], PyTree]
    read: Callable[..., Memory]
    decode: Callable[..., Float[Array, "N H W 1"]]


class Attention(nn.Module):
    """One round: what a query patch finds in the memory."""

    features: int
    heads: int

    def setup(self):
        shape = (self.heads, self.features // self.heads)
        self.norm = nn.LayerNorm()
        self.query, self.key, self.value = (nn.DenseGeneral(shape) for _ in range(3))
        self.result = nn.DenseGeneral(self.features, axis=(-2, -1))
        near = np.geomspace(NEAREST, FARTHEST, self.heads)
        self.log_near = self.param("log_near", constant(-np.log(2 * near**2)), (self.heads,))
        level = np.full(self.heads, LEVELS)
        self.log_level = self.param("log_level", constant(-np.log(2 * level**2)), (self.heads,))
        self.nothing = self.param("nothing", nn.initializers.constant(-4.0), (self.heads,))

    def remember(self, looks, tagged):
        """Make keys of patches as they look, and values of what is known of them."""
        return self.key(self.norm(looks)), self.value(tagged)

    def __call__(self, x, key, value, memory: Memory, place, height):
        """Attend from patches [P, C], at their places, to the keys and values of one round."""
        query = self.query(self.norm(x)) / np.sqrt(self.features // self.heads)
        logits = jnp.einsum("pad,mad->apm", query, key)
        apart = ((place[:, None] - memory.place[None]) ** 2).sum(-1)
        logits = logits - jnp.exp(self.log_near)[:, None, None] * apart[None]
        known = (height >= 0)[:, None] & (memory.height >= 0)[None]
        levels = jnp.where(known, (height[:, None] - memory.height[None]) ** 2, 0.0)
        logits = logits - jnp.exp(self.log_level)[:, None, None] * levels[None]
        logits = jnp.where(memory.valid[None, None], logits, EMPTY)
        nothing = jnp.broadcast_to(self.nothing[:, None, None], (*logits.shape[:2], 1))
        weight = jax.nn.softmax(jnp.concatenate([logits, nothing], axis=-1), axis=-1)[..., :-1]
        return self.result(jnp.einsum("apm,mad->pad", weight, value))


class ReaderNetwork(nn.Module):
    """One encoder for support and query, rounds of attention at its coarsest level, a decoder."""

    widths: Sequence[int]
    heads: int
    rounds: int
    groups: int
    activation: Callable
    pool: Callable
    output_bias: float

    def setup(self):
        def block(width):
            return Block(width, self.groups, self.activation)

        self.down = [block(width) for width in self.widths]
        self.up = [block(width) for width in self.widths[:-1]]
        self.tag = block(self.widths[-1])
        self.attend = [Attention(self.widths[-1], self.heads) for _ in range(self.rounds)]
        self.join = [block(self.widths[-1]) for _ in range(self.rounds)]
        self.head = nn.Dense(1, bias_init=nn.initializers.constant(self.output_bias))

    def encode(self, image):
        """Give the features of every level, from full resolution down."""
        levels, x = [], image
        for number, block in enumerate(self.down):
            x = block(self.pool(x) if number else x)
            levels.append(x)
        return levels

    def read(self, image, mask, valid, height) -> Memory:
        """Read a support; slices that are not valid leave no trace."""
        levels = self.encode(image)
        top = levels[-1]
        mask = mask.astype(top.dtype)
        share = patches(mask, 2 ** (len(self.widths) - 1))
        tagged = flat(self.tag(jnp.concatenate([top, share], axis=-1)))
        both = [attend.remember(flat(top), tagged) for attend in self.attend]
        key, value = (jnp.stack(parts) for parts in zip(*both, strict=True))
        count = top.shape[1] * top.shape[2]
        here = mask * valid.astype(top.dtype)[:, None, None]
        ring = around(share.mean(-1), mask.shape[1:]) * valid[:, None, None] * (1 - mask)
        return Memory(
            key,
            value,
            places(top),
            jnp.repeat(height, count),
            jnp.repeat(valid, count),
            looks(levels[0], here),
            looks(levels[0], ring),
        )

    def decode(self, memory: Memory, image, height):
        """Segment slices, each by itself."""
        levels = self.encode(image)
        x = levels[-1]
        place = places(x)
        height = jnp.repeat(height, x.shape[1] * x.shape[2])
        for number in range(self.rounds):
            key, value = memory.key[number], memory.value[number]
            found = self.attend[number](flat(x), key, value, memory, place, height)
            x = x + self.join[number](jnp.concatenate([x, found.reshape(x.shape)], axis=-1))
        fine = levels[0]
        levels[0] = jnp.concatenate(
            [fine, likeness(fine, memory.inside), likeness(fine, memory.around)], axis=-1
        )
        for number in reversed(range(len(self.up))):
            x = self.up[number](levels[number], x)
        return self.head(x)

    def __call__(self, image, mask, valid, height):
        """Read slices and decode them: what touches every parameter once."""
        return self.decode(self.read(image, mask, valid, height), image, height)


def reader(
    widths: Sequence[int] = (16, 32, 48, 64),
    *,
    heads: int = 4,
    rounds: int = 2,
    channels: int = 1,
    groups: int = 8,
    activation: Callable = nn.relu,
    pool: Callable = max_pool,
    output_bias: float = -2.5,
) -> Reader:
    """Make a reader of `len(widths)` levels, whose patches have a side of 2^(levels - 1) pixels.

    `output_bias` is the logit that the untrained network gives everywhere.
    """
    widths = tuple(widths)
    module = ReaderNetwork(widths, heads, rounds, groups, activation, pool, output_bias)
    side = 2 ** (len(widths) - 1)

    def init(key):
        image = jnp.zeros((1, side, side, channels))
        return module.init(key, image, image[..., 0], jnp.ones(1, bool), jnp.zeros(1))["params"]

    def read(
        variables,
        image: Float[Array, "K H W C"],
        mask: Integer[Array, "K H W"],
        valid: Bool[Array, " K"],
        height: Float[Array, " K"],
    ) -> Memory:
        return module.apply({"params": variables}, image, mask, valid, height, method="read")

    def decode(
        variables, memory: Memory, image: Float[Array, "N H W C"], height: Float[Array, " N"]
    ) -> Float[Array, "N H W 1"]:
        return module.apply({"params": variables}, memory, image, height, method="decode")

    return Reader(init, read, decode)


def constant(values: np.ndarray) -> Callable:
    """Make the initializer of a parameter that begins at these values."""
    return lambda key, shape: jnp.asarray(values, jnp.float32)


def flat(x: Float[Array, "N H W C"]) -> Float[Array, "N*H*W C"]:
    """Put all patches of all slices in one row."""
    return x.reshape(-1, x.shape[-1])


def patches(
    mask: Float[Array, "N H W"], side: int
) -> Float[Array, "N H//{side} W//{side} {side}*{side}"]:
    """Cut masks into patches, the pixels of each as its channels."""
    n, height, width = mask.shape
    cut = mask.reshape(n, height // side, side, width // side, side).swapaxes(2, 3)
    return cut.reshape(n, height // side, width // side, side * side)


def places(x: Float[Array, "N H W C"]) -> Float[Array, "N*H*W 2"]:
    """Give rows and columns of all patches, -1 to 1 over the slice."""
    count, height, width, _ = x.shape
    rows, columns = ((2 * jnp.arange(n) + 1) / n - 1 for n in (height, width))
    each = jnp.stack(jnp.meshgrid(rows, columns, indexing="ij"), axis=-1).reshape(-1, 2)
    return jnp.tile(each, (count, 1)).astype(x.dtype)


def around(share: Float[Array, "N h w"], size: tuple[int, int]) -> Float[Array, "N H W"]:
    """Mark where the structure is near: patches that hold some of it, and their neighbors."""
    padded = jnp.pad((share > 0).astype(share.dtype), ((0, 0), (1, 1), (1, 1)))
    height, width = share.shape[1:]
    shifted = (padded[:, i : i + height, j : j + width] for i in range(3) for j in range(3))
    near = (sum(shifted) > 0).astype(share.dtype)
    return near.repeat(size[0] // height, 1).repeat(size[1] // width, 2)


def looks(features: Float[Array, "N H W C"], weight: Float[Array, "N H W"]) -> Looks:
    """Measure features where the weight is; where it is nowhere, 0 and 1."""
    total = weight.sum()
    some = jnp.maximum(total, 1.0)
    mean = jnp.einsum("nhwc,nhw->c", features, weight) / some
    apart = (features - mean[None, None, None]) ** 2
    variance = jnp.einsum("nhwc,nhw->c", apart, weight) / some
    return Looks(mean, jnp.sqrt(jnp.where(total > 0, variance, 1.0) + 1e-2))


def likeness(features: Float[Array, "N H W C"], known: Looks) -> Float[Array, "N H W C"]:
    """Say for each feature how well a pixel looks as known: exp(-z^2 / 2) of its z-score."""
    score = (features - known.mean[None, None, None]) / known.spread[None, None, None]
    return jnp.exp(-0.5 * score**2)
