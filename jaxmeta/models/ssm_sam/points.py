"""Where to look: points drawn on a mask, and the features found there.

All images of a chunk share their points, as in the released code: slices that follow one another show a
structure at about the same place. Coordinates are (x, y) in pixels, x along a row.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

OUTSIDE = 10  # points anywhere, where no pixel of the structure is to be seen


def drawn_on(mask: Shaped[Array, "N H W"], count: int, key: Array) -> Float[Array, "K 2"]:
    """Draw `count` pixels of the masks together, each as likely, and again if it comes so.

    Where they are all empty every pixel is as likely, and the first OUTSIDE points are repeated.
    """
    width = mask.shape[2]
    any_mask, everywhere = (mask > 0).any(0).ravel(), jnp.ones(mask[0].size)
    pooled = (mask > 0).sum(0).ravel().astype(jnp.float32)
    below = jnp.cumsum(jnp.where(any_mask.any(), pooled, everywhere))
    draw = jax.random.uniform(key, (count,))
    draw = jnp.where(any_mask.any(), draw, draw[jnp.arange(count) % OUTSIDE])
    index = jnp.searchsorted(below, draw * below[-1], side="right")
    index = jnp.minimum(index, below.size - 1)
    return jnp.stack([index % width, index // width], axis=-1).astype(jnp.float32)


def features_at(
    features: Float[Array, "N G J C"], points: Float[Array, "N K 2"], side: int
) -> Float[Array, "N K C"]:
    """Interpolate features linearly at points given in pixels of an image of this side.

    Neighbours beyond the border count as zeros.
    """
    height, width = features.shape[1:3]

    def weights(at, cells):
        place = (at + 0.5) * cells / side - 0.5
        return jnp.maximum(0.0, 1 - jnp.abs(place[..., None] - jnp.arange(cells)[None, None]))

    rows, columns = weights(points[..., 1], height), weights(points[..., 0], width)
    return jnp.einsum("nkr,nrjc,nkj->nkc", rows, features, columns)
