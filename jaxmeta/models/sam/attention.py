"""Attention that never holds all of its scores at once, and may be differentiated twice.

A block that attends to a whole image of 64 x 64 tokens has 4096 x 4096 scores a head: 0.8 GB for
the 12 heads of ViT-B. Here a few queries at a time see all keys, and derivatives compute the scores
again instead of keeping them. All of it is plain XLA, so derivatives of derivatives are too.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

SCORES = 2**18  # held at once on a processor: 1 MiB, about what a core's cache holds
ELSEWHERE = 2**26  # and where many cores want to be fed


def attend(
    q: Float[Array, "B Q D"],
    k: Float[Array, "B K D"],
    v: Float[Array, "B K E"],
    tilt: tuple[Float[Array, "B Q R"], Float[Array, "B Q C"]] | None = None,
) -> Float[Array, "B Q E"]:
    """Compute softmax(q k^T + tilt) v; B counts heads too.

    The keys are R x C places in rows, and tilt[0] is added to the scores of a row, tilt[1] to those
    of a column.
    """
    asked, some = (q, *(tilt or ())), partial(some_at_a_time, most=SCORES)
    if 8 * SCORES >= q.shape[0] * q.shape[1] * k.shape[1]:  # as windows have them
        return attended(asked, k, v)
    many = partial(some_at_a_time, most=ELSEWHERE)
    return jax.lax.platform_dependent(asked, k, v, cpu=some, default=many)


def some_at_a_time(
    asked: tuple[Float[Array, "B Q _"], ...],
    k: Float[Array, "B K D"],
    v: Float[Array, "B K E"],
    *,
    most: int,
) -> Float[Array, "B Q E"]:
    """Attend with about `most` scores at a time, of as many heads as that is, or of a part of one's
    queries."""
    (count, queries, _), keys = asked[0].shape, k.shape[1]
    heads = chunk(count, most // (queries * keys))
    size = chunk(queries, most // (heads * keys))

    def of_heads(held):
        asked, k, v = held
        parts = jax.tree.map(lambda a: dealt(a, 1, size), asked)
        some = jax.checkpoint(lambda part: attended(part, k, v), prevent_cse=False)
        found = jax.lax.map(some, parts)
        return jnp.moveaxis(found, 0, 1).reshape(heads, queries, -1)

    held = jax.tree.map(lambda a: dealt(a, 0, heads), (asked, k, v))
    return jax.lax.map(of_heads, held).reshape(count, queries, -1)


def attended(
    asked: tuple[Float[Array, "B Q _"], ...], k: Float[Array, "B K D"], v: Float[Array, "B K E"]
) -> Float[Array, "B Q E"]:
    """Attend with all scores at once; `asked` are the queries, and what tilts them if anything
    does."""
    q, *tilt = asked
    scores = jnp.einsum("bqd,bkd->bqk", q, k)
    if tilt:
        rows, columns = tilt
        scores += (rows[..., :, None] + columns[..., None, :]).reshape(scores.shape)
    scores -= jax.lax.stop_gradient(scores.max(-1, keepdims=True))
    weights = jnp.exp(scores)
    return jnp.einsum("bqk,bke->bqe", weights, v) / weights.sum(-1, keepdims=True)


def dealt(a: Array, axis: int, size: int) -> Array:
    """Cut an axis into parts of this size, and put the parts first."""
    shape = *a.shape[:axis], -1, size, *a.shape[axis + 1 :]
    return jnp.moveaxis(a.reshape(shape), axis, 0)


def chunk(count: int, most: int) -> int:
    """Choose the largest divisor of `count` that is at most `most`."""
    return max(n for n in range(1, count + 1) if count % n == 0 and n <= max(1, most))


def relative(
    q: Float[Array, "B G W D"], rows: Float[Array, "L D"], columns: Float[Array, "M D"]
) -> tuple[Float[Array, "B G*W G"], Float[Array, "B G*W W"]]:
    """Tilt scores by how many rows and columns lie between two tokens (Li et al. 2022, arXiv
    2112.01526).

    tilt[(i, j), k] = q_ij . rows[i - k + G - 1], and likewise for columns; tables made for another
    grid are interpolated.
    """
    count, height, width, _ = q.shape
    rows, columns = entries_between(rows, height), entries_between(columns, width)
    along = jnp.einsum("bijd,ikd->bijk", q, rows)
    across = jnp.einsum("bijd,jkd->bijk", q, columns)
    return along.reshape(count, height * width, height), across.reshape(
        count, height * width, width
    )


def entries_between(table: Float[Array, "L D"], side: int) -> Float[Array, "G G D"]:
    """Look up the entry of every pair of places on a side, [i, k] that of distance i - k."""
    if table.shape[0] != 2 * side - 1:
        table = jnp.asarray(interpolation(table.shape[0], 2 * side - 1)) @ table
    places = np.arange(side)
    return table[places[:, None] - places + side - 1]


def interpolation(known: int, wanted: int) -> Float[np.ndarray, "wanted known"]:
    """Make the matrix that resamples linearly, pixel centers at halves, edges held."""
    at = np.clip((np.arange(wanted) + 0.5) * known / wanted - 0.5, 0, known - 1)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(known))).astype(np.float32)


def scaled(q: Array) -> Array:
    """Divide queries by the square root of their length."""
    return q / math.sqrt(q.shape[-1])
