"""Five looks at one slice, and the way back of each: what MLB-Seg's ensemble is made of.

T_0 is the slice itself, T_1 nearer, T_2 and T_3 farther away, T_4 mirrored (arXiv 2307.11604), or,
for organs that a mirror makes others of, nearer too. A look resamples rows and columns apart,
half-pixel bilinear without antialiasing (as OpenCV resizes), so it is a pair of matrices:
T_k(x) = rows_k x columns_k^T, and so is the way back. What a look does not show of a slice, and
what it shows of beyond it, is 0, and `valid` is False there.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

LOOKS = 5
SIZE = 144  # pixels of a side that the published draws are for
LEAST, MOST = 2, 15  # of half of what a zoom adds or takes on each side, in pixels of these


class Looks(NamedTuple):
    """The matrices of the looks at B slices, and those of the ways back."""

    rows: Float[Array, "B 5 S S"]
    columns: Float[Array, "B 5 S S"]
    back_rows: Float[Array, "B 5 S S"]
    back_columns: Float[Array, "B 5 S S"]


def draw_looks(key: Array, count: int, size: int, *, mirrors: bool = True) -> Looks:
    """Draw looks at `count` slices of `size` pixels a side.

    As published a zoom adds or takes 4, 6, ..., 30 pixels on each side of 144, the two farther
    looks different ones, and each mirror image is as likely as the others; other sizes scale that.
    Without `mirrors` there are two different nearer looks.
    """
    several = MOST - LEAST + 1

    def other_than(key, one):
        return (one + jax.random.randint(key, (), 1, several)) % several

    def draw(key):
        nearer, first, second, last = jax.random.split(key, 4)
        near = jax.random.randint(nearer, (), LEAST, MOST + 1)
        far = jax.random.randint(first, (), 0, several)
        zooms = [near, far + LEAST, other_than(second, far) + LEAST]
        zooms += [] if mirrors else [other_than(last, near - LEAST) + LEAST]
        pixels = 2 * jnp.stack(zooms) * (size / SIZE)
        pixels = jnp.maximum(jnp.round(pixels), 1).astype(jnp.int32)
        mirror = [jax.random.randint(last, (1,), 1, 4)] if mirrors else []
        return jnp.concatenate([pixels, *mirror])

    return looks(jax.vmap(draw)(jax.random.split(key, count)), size, mirrors=mirrors)


def looks(
    drawn: Integer[Array, "B 4"], size: int, dtype=jnp.float32, *, mirrors: bool = True
) -> Looks:
    """Make the looks of (pixels nearer, pixels farther twice, mirror: 1 rows, 2 columns, 3 both;
    or pixels nearer, without `mirrors`)."""

    def one(near, far, farther, last):
        whole = jnp.arange(size)
        same, turned = between(whole, 1, size, dtype), between(size - 1 - whole, 1, size, dtype)
        zooms = [zoomed_in(near, size, dtype)]
        zooms += [zoomed_out(by, size, dtype) for by in (far, farther)]
        there = [same, *(forth for forth, _ in zooms)]
        back = [same, *(back for _, back in zooms)]
        if mirrors:  # its own way back
            ends = [[jnp.where((last & side) > 0, turned, same) for side in (1, 2)]] * 2
        else:
            ends = [[each] * 2 for each in zoomed_in(last, size, dtype)]
        pairs = zip((there, back), ends, strict=True)
        return Looks(*(jnp.stack([*side, end]) for side, two in pairs for end in two))

    return jax.vmap(lambda each: one(*each))(drawn)


def zoomed_in(by: Integer[Array, ""], size: int, dtype) -> tuple[Array, Array]:
    """Resize to S + 2 `by` and keep the middle; back, put it there in zeros and shrink."""
    large = size + 2 * by
    whole = jnp.arange(size)
    there = between(*scaled(whole + by, size, large), size, dtype)
    at, unit = scaled(whole, large, size)
    return there, between(at - by * unit, unit, size, dtype)


def zoomed_out(by: Integer[Array, ""], size: int, dtype) -> tuple[Array, Array]:
    """Resize to S - 2 `by` and put that amid zeros; back, cut it out and enlarge."""
    small = size - 2 * by
    whole = jnp.arange(size)
    shown = (whole >= by) & (whole < size - by)
    there = between(*scaled(whole - by, size, small), size, dtype)
    at, unit = scaled(whole, small, size)
    return there * shown[:, None], between(at + by * unit, unit, size, dtype)


def scaled(pixel: Integer[Array, " n"], known, wanted) -> tuple[Integer[Array, " n"], Any]:
    """Find pixels of a grid of `wanted` on one of `known` pixels, whose ends are repeated.

    Places are whole numbers of a part of a pixel: (places, parts of a pixel). In floating point the
    143rd would be off by as much as interpolation may be.
    """
    unit = 2 * wanted
    return jnp.clip((2 * pixel + 1) * known - wanted, 0, (known - 1) * unit), unit


def between(at: Integer[Array, " n"], unit, size: int, dtype=jnp.float32) -> Float[Array, "n S"]:
    """Make the matrix that interpolates linearly at places, `unit` of which are a pixel; 0 a pixel
    beyond the ends."""
    apart = jnp.abs(at[:, None] - unit * jnp.arange(size)[None])
    return jnp.maximum(unit - apart, 0).astype(dtype) / unit


def look(given: Looks, slices: Float[Array, "B S S"]) -> Float[Array, "B 5 S S"]:
    """Look at slices in each of their five ways."""
    return jnp.einsum("bkij,bjl,bkml->bkim", given.rows, slices, given.columns)


def look_back(given: Looks, maps: Float[Array, "B 5 S S"]) -> Float[Array, "B 5 S S"]:
    """Bring what was made of each look back to the slice."""
    return jnp.einsum("bkij,bkjl,bkml->bkim", given.back_rows, maps, given.back_columns)


def look_again(given: Looks, maps: Float[Array, "B S S"], at: int) -> Float[Array, "B S S"]:
    """See maps of slices as look number `at` does; the first is the slice itself."""
    if not at:
        return maps
    return jnp.einsum("bij,bjl,bml->bim", given.rows[:, at], maps, given.columns[:, at])


def shown(given: Looks) -> Bool[Array, "B 5 S S"]:
    """Tell which pixels of each look show a part of the slice."""
    ones = jnp.ones((len(given.rows), given.rows.shape[-1], given.rows.shape[-1]), given.rows.dtype)
    return look(given, ones) > 0.999


def come_back(given: Looks) -> Bool[Array, "B 5 S S"]:
    """Tell which pixels of the slice come back from each look, by what it shows alone."""
    return look_back(given, shown(given).astype(given.rows.dtype)) > 0.999
