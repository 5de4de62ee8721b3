"""The image's own features at places that were pointed at.

Coordinates are (x, y) in pixels, x along a row.
"""

import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmeta.numerics import maximum


def features_at(
    features: Float[Array, "N G J C"], points: Float[Array, "N K 2"], side: int
) -> Float[Array, "N K C"]:
    """Interpolate features linearly at points given in pixels of an image of this side.

    Neighbors beyond the border count as zeros.
    """
    height, width = features.shape[1:3]

    def weights(at, cells):
        place = (at + 0.5) * cells / side - 0.5
        return maximum(1 - jnp.abs(place[..., None] - jnp.arange(cells)[None, None]), 0.0)

    rows, columns = weights(points[..., 1], height), weights(points[..., 0], width)
    return jnp.einsum("nkr,nrjc,nkj->nkc", rows, features, columns)
