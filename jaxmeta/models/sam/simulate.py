"""What a person would point at, drawn from the truth: for training, and for tests that say so.

Coordinates are (x, y) in pixels, x along a row.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

ANYWHERE = 10  # points, where no pixel of the structure is to be seen
SHARE, MOST = 0.1, 20.0  # of a box's side, and in pixels: how far its corners are moved


def drawn_on(mask: Shaped[Array, "N H W"], count: int, key: Array) -> Float[Array, "K 2"]:
    """Draw `count` pixels of the masks together, each as likely, and again if it comes so.

    Where they are all empty every pixel is as likely, and the first ANYWHERE points are repeated.
    """
    width = mask.shape[2]
    any_mask, everywhere = (mask > 0).any(0).ravel(), jnp.ones(mask[0].size)
    pooled = (mask > 0).sum(0).ravel().astype(jnp.float32)
    below = jnp.cumsum(jnp.where(any_mask.any(), pooled, everywhere))
    draw = jax.random.uniform(key, (count,))
    draw = jnp.where(any_mask.any(), draw, draw[jnp.arange(count) % ANYWHERE])
    index = jnp.searchsorted(below, draw * below[-1], side="right")
    index = jnp.minimum(index, below.size - 1)
    return jnp.stack([index % width, index // width], axis=-1).astype(jnp.float32)


def click_on(mask: Shaped[Array, "N H W"], key: Array) -> Float[Array, "N 1 2"]:
    """Draw a pixel of each mask, each as likely; where it is empty, one anywhere."""
    keys = jax.random.split(key, mask.shape[0])
    return jax.vmap(lambda each, key: drawn_on(each[None], 1, key))(mask, keys)


def jittered(box: Float[Array, "N 4"], side: int, key: Array) -> Float[Array, "N 4"]:
    """Move every corner by noise of a tenth of the box's side, at most 20 pixels, and stay in the
    image.

    As Segment Anything was trained (arXiv 2304.02643, appendix A), for images of 1024 pixels; in
    proportion for others.
    """
    most = MOST * side / 1024
    length = jnp.tile(box[:, 2:] - box[:, :2], (1, 2))
    moved = SHARE * length * jax.random.normal(key, box.shape)
    return jnp.clip(box + jnp.clip(moved, -most, most), 0, side - 1)
