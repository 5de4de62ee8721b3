"""Where a slice lies and how it is bent: one smooth map of the plane, one resampling.

A map turns, enlarges and shifts the slice, and where asked bends it: a coarse grid of control
points displaces every pixel through a uniform cubic B-spline, the free-form deformation of
registration (Rueckert et al. 1999), with control points at random as in training the U-Net
(Ronneberger et al. 2015, arXiv 1505.04597). The spline of a whole slice is two small matrix
products.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.ndimage import map_coordinates
from jaxtyping import Array, Float

CUT = 2.0  # control points stay within two standard deviations
# The standard deviation of a pixel for control points of one: the cut normal's own, and twice the
# root of the mean square of the cubic B-spline, 151/315, once an axis.
SMOOTHED = 0.8796 * 151 / 315


class Pose(NamedTuple):
    """Where a slice lies: bent, turned (radians), enlarged (above 1), then shifted (in its sides).

    `knots` are the displacements of control points, rows and columns, in sides; None bends nothing.
    """

    angle: Float[Array, ""]
    scale: Float[Array, ""]
    shift: Float[Array, "2"]
    knots: Float[Array, "K K 2"] | None = None


def pose(
    key: Array, rotate: float, zoom: float, shift: float, elastic: float = 0.0, *, cells: int = 4
) -> Pose:
    """Draw a pose: turned up to `rotate` degrees, larger or smaller by up to `zoom`, shifted,
    bent."""
    turned, zoomed, shifted, bent = jax.random.split(key, 4)
    return Pose(
        jnp.deg2rad(rotate) * jax.random.uniform(turned, (), minval=-1, maxval=1),
        (1 + zoom) ** jax.random.uniform(zoomed, (), minval=-1, maxval=1),
        shift * jax.random.uniform(shifted, (2,), minval=-1, maxval=1),
        random_knots(bent, elastic, cells) if elastic else None,
    )


def random_knots(key: Array, spread: float, cells: int) -> Float[Array, "K K 2"]:
    """Draw control points over `cells` x `cells`, whose spline displaces a pixel by `spread`.

    `spread` is a standard deviation along each axis, in sides of the slice (4 % more at a control
    point, 4 % less between). A cubic B-spline is one to one while no control point moves by 0.48 of
    their distance 1 / cells (Choi and Lee 2000): as the deviates are cut at 2, nothing folds for

        2 spread / SMOOTHED < 0.48 / cells,    that is    spread <= 0.1 / cells.
    """
    deviates = jax.random.truncated_normal(key, -CUT, CUT, (cells + 3, cells + 3, 2))
    return spread / SMOOTHED * deviates


def combine(one: Pose, other: Pose) -> Pose:
    """Put two poses together; displacements add, so their spreads share the limit of one."""
    bent = [p.knots for p in (one, other) if p.knots is not None]
    return Pose(
        one.angle + other.angle,
        one.scale * other.scale,
        one.shift + other.shift,
        sum(bent) if bent else None,
    )


def warp(
    image: Float[Array, "H W C"], mask: Array, to: Pose
) -> tuple[Float[Array, "H W C"], Array]:
    """Map one slice about its center: linear image, its edge repeated outside; nearest mask, 0
    outside."""
    height, width = mask.shape
    rows = jnp.arange(height)[:, None] - (height - 1) / 2 - to.shift[0] * height
    columns = jnp.arange(width)[None] - (width - 1) / 2 - to.shift[1] * width
    if to.knots is not None:
        by = displaced(to.knots, height, width)
        rows, columns = rows + height * by[0], columns + width * by[1]
    cos, sin = jnp.cos(to.angle) / to.scale, jnp.sin(to.angle) / to.scale
    where = [
        cos * rows - sin * columns + (height - 1) / 2,
        sin * rows + cos * columns + (width - 1) / 2,
    ]

    def linear(channel):
        return map_coordinates(channel, where, order=1, mode="nearest")

    moved = jnp.stack([linear(image[..., c]) for c in range(image.shape[-1])], axis=-1)
    return moved, map_coordinates(mask, where, order=0, mode="constant", cval=0)


def displaced(knots: Float[Array, "K K 2"], height: int, width: int) -> Float[Array, "2 H W"]:
    """Displace every pixel of a slice, rows and columns in sides, as its control points say."""
    cells = knots.shape[0] - 3
    return jnp.einsum(
        "hk,klc,wl->chw", spline(height, cells), knots, spline(width, cells), precision="highest"
    )


def spline(size: int, cells: int) -> Float[Array, "N K"]:
    """Weigh the control points -1 .. cells + 1 at `size` pixels that fill the cells 0 .. cells.

    A row holds four values of the cubic B-spline: (2 - |x|)^3 / 6 - 4 (1 - |x|)^3 / 6, each part
    where its bracket is positive.
    """
    pixels = (jnp.arange(size) + 0.5) * (cells / size)
    x = jnp.abs(pixels[:, None] - jnp.arange(-1, cells + 2)[None])
    return jnp.maximum(2 - x, 0) ** 3 / 6 - 4 * jnp.maximum(1 - x, 0) ** 3 / 6
