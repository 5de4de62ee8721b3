"""Small trained parts inside a frozen image encoder, all behind one interface.

An adapter may add to the tokens before a block (`before`) and inside it (`taps`), on all blocks or
the last few. What stands before its first block depends on the image alone and is computed once
(`before_adapters`): for adapters on every block that is the patch embedding, and for `high_pass`
the image's high frequencies.
"""

from collections.abc import Callable, Collection, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from jaxmeta.models.sam.encoder import Encoder, Taps, Tokens
from jaxmeta.models.sam.layers import Dense, Patches, gelu, times
from jaxmeta.models.sam.size import Size

SMALL_NORMAL = nn.initializers.truncated_normal(0.02)


class Prefix(NamedTuple):
    """What of an image no adapter changes."""

    tokens: Tokens  # that the first adapted block begins with
    patches: Any = ()  # the patch embedding without positions, where an adapter looks at it
    edges: Any = ()  # the high frequencies [N, S, S, 3], likewise
    passed: tuple = ()  # tokens after blocks that somebody wants to see, or what is made of them


def to_parts(prefix: Prefix) -> dict[str, Array]:
    """Name the arrays of a prefix, as they are kept on disk."""
    parts = {name: getattr(prefix, name) for name in ("tokens", "patches", "edges")}
    parts = {name: array for name, array in parts.items() if not isinstance(array, tuple)}
    return parts | {f"passed_{n}": array for n, array in enumerate(prefix.passed)}


def from_parts(parts: Mapping[str, Array]) -> Prefix:
    """Make a prefix of named arrays."""
    passed = sorted(name for name in parts if name.startswith("passed_"))
    seen = (parts.get(name, ()) for name in ("patches", "edges"))
    return Prefix(parts["tokens"], *seen, tuple(parts[name] for name in passed))


class Adapter(NamedTuple):
    """A way to adapt an image encoder; `variables` are its own, nothing else is trained.

    encode(variables, prefix) -> what all blocks share; before(variables, shared, number) -> what is
    added to the tokens before that block; taps(variables, number) -> what is added inside it.
    """

    blocks: tuple[int, ...]  # that are adapted
    init: Callable[[Array], PyTree]
    encode: Callable[[PyTree, Prefix], Any] = lambda variables, prefix: ()
    before: Callable[[PyTree, Any, int], Any] = lambda variables, shared, number: 0.0
    taps: Callable[[PyTree, int], Taps] = lambda variables, number: Taps()
    sees_image: bool = False  # `encode` needs the patch embedding and the high frequencies


def last_blocks(size: Size, last: int | None) -> tuple[int, ...]:
    """Number the last blocks, or all."""
    return tuple(range(size.depth - (size.depth if last is None else last), size.depth))


def high_pass(size: Size, *, last: int | None = None, width: int = 24) -> Adapter:
    """Prompt every block by the image's high frequencies and its patch embedding (SAM-Adapter,
    arXiv 2304.09148; in SSM-SAM, arXiv 2308.16466).

        before block i:  x <- x + up(gelu(tune_i(high(edges) + low(patches))))
    """
    blocks = last_blocks(size, last)
    fan_out = size.patch**2 * width
    module = HighPass(size, blocks, width, nn.initializers.normal((2 / fan_out) ** 0.5))

    def init(key):
        grid = size.grid
        tokens = jnp.zeros((1, grid, grid, size.width))
        edges = jnp.zeros((1, size.image, size.image, 3))
        return module.init(key, tokens, edges)["params"]

    def encode(variables, prefix):
        own = {"params": variables}
        return module.apply(own, prefix.patches, prefix.edges, method=HighPass.encode)

    def before(variables, shared, number):
        return module.apply({"params": variables}, shared, number, method=HighPass.before)

    return Adapter(blocks, init, encode, before, sees_image=True)


class HighPass(nn.Module):
    """The trained part of `high_pass`."""

    size: Size
    blocks: tuple[int, ...]
    width: int
    spread: Callable

    def setup(self):
        self.high = Patches(self.width, self.size.patch, self.spread)
        self.low = Dense(self.width, kernel_init=SMALL_NORMAL)
        self.tune = {
            str(n): Dense(self.width, kernel_init=SMALL_NORMAL, name=f"tune_{n}")
            for n in self.blocks
        }
        self.up = Dense(self.size.width, kernel_init=SMALL_NORMAL)

    def __call__(self, patches, edges):
        shared = self.encode(patches, edges)
        return [self.before(shared, n) for n in self.blocks]

    def encode(self, patches, edges):
        return self.high(edges) + self.low(patches)

    def before(self, shared, number):
        return self.up(gelu(self.tune[str(number)](shared)))


def low_rank(
    size: Size, *, last: int | None = None, rank: int = 4, strength: float = 1.0
) -> Adapter:
    """Add a product of two thin matrices to the maps to queries and values (LoRA, arXiv
    2106.09685).

    It begins at zero, so the network begins as it was.
    """
    blocks = last_blocks(size, last)

    def init(key):
        def pair(key):
            down = jax.random.normal(key, (size.width, rank)) / size.width**0.5
            return {"down": down, "up": jnp.zeros((rank, size.width))}

        keys = jax.random.split(key, (len(blocks), 2))
        return {
            f"block_{n}": {"q": pair(q), "v": pair(v)}
            for n, (q, v) in zip(blocks, keys, strict=True)
        }

    def taps(variables, number):
        own = variables[f"block_{number}"]

        def qkv(x):
            q, v = (strength * times(times(x, own[name]["down"]), own[name]["up"]) for name in "qv")
            return jnp.concatenate([q, jnp.zeros_like(q), v], axis=-1)

        return Taps(qkv=qkv)

    return Adapter(blocks, init, taps=taps)


def bottleneck(size: Size, *, last: int | None = None, width: int | None = None) -> Adapter:
    """Let narrow perceptrons add to the attention's output and, halved, beside the perceptron
    (Medical SAM Adapter, arXiv 2304.12620).

    The width is a quarter of the tokens' by default. They begin at zero, so the network begins as
    it was.
    """
    blocks, narrow = last_blocks(size, last), width or size.width // 4

    def init(key):
        def perceptron(key):
            down = jax.random.normal(key, (size.width, narrow)) / size.width**0.5
            up = jnp.zeros((narrow, size.width))
            return {
                "down": {"kernel": down, "bias": jnp.zeros(narrow)},
                "up": {"kernel": up, "bias": jnp.zeros(size.width)},
            }

        keys = jax.random.split(key, (len(blocks), 2))
        return {
            f"block_{n}": {"space": perceptron(space), "mlp": perceptron(mlp)}
            for n, (space, mlp) in zip(blocks, keys, strict=True)
        }

    def taps(variables, number):
        own = variables[f"block_{number}"]

        def through(name, x):
            for layer, activation in (("down", gelu), ("up", lambda x: x)):
                kernel, bias = own[name][layer]["kernel"], own[name][layer]["bias"]
                x = activation(times(x, kernel) + bias[None, None, None])
            return x

        return Taps(attention=lambda x: through("space", x), mlp=lambda x: 0.5 * through("mlp", x))

    return Adapter(blocks, init, taps=taps)


def before_adapters(
    parts: Encoder,
    variables: PyTree,
    adapter: Adapter,
    image: Float[Array, "N S S 3"],
    watched: Collection[int] = (),
) -> Prefix:
    """Compute what of images no adapter changes, up to the first adapted block.

    `passed` are the tokens after those of these blocks that lie before it.
    """
    patches = parts.embed(variables, image)
    tokens, passed = parts.place(variables, patches), []
    for number in range(adapter.blocks[0]):
        tokens = parts.block(variables, number, tokens)
        passed += [tokens] if number in watched else []
    seen = (patches, high_frequencies(image)) if adapter.sees_image else ((), ())
    return Prefix(tokens, *seen, tuple(passed))


def adapted_blocks(
    parts: Encoder, frozen: PyTree, adapter: Adapter, variables: PyTree, prefix: Prefix, depth: int
) -> list[Tokens]:
    """Go on from the prefix; returns the tokens after each block that is adapted."""
    tokens, shared, found = prefix.tokens, adapter.encode(variables, prefix), []
    for number in range(adapter.blocks[0], depth):
        tokens = tokens + adapter.before(variables, shared, number)
        tokens = parts.block(frozen, number, tokens, adapter.taps(variables, number))
        found.append(tokens)
    return found


def high_frequencies(image: Float[Array, "N H W C"], share: float = 0.25) -> Array:
    """Take away the lowest frequencies, a centered square of this share of the spectrum; |what is
    left|."""
    height, width = image.shape[1:3]
    half = int((height * width * share) ** 0.5 // 2)
    kept = np.ones((height, width), bool)
    kept[height // 2 - half : height // 2 + half, width // 2 - half : width // 2 + half] = False
    spectrum = jnp.fft.fft2(image, axes=(1, 2))
    spectrum = spectrum * jnp.asarray(np.fft.ifftshift(kept))[None, :, :, None]
    return jnp.abs(jnp.fft.ifft2(spectrum, axes=(1, 2)).real)
