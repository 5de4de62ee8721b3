"""The attention of the mask decoder: where the support's structure is, the query is looked at.

With X the query's features and V_0 the support's soft mask in every channel:

    K = X * V_{l-1},   V_l = attention(q = X, k = K, v = V_{l-1}) * X      l = 1, 2
    Y = dropout(norm(V_2 + X)),   out = dropout(norm(perceptron(Y) + Y))
"""

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmeta.models.sam.decoder import CrossAttention
from jaxmeta.models.sam.layers import MLP, LayerNorm
from jaxmeta.models.sam.size import Size

ROUNDS = 2


class MaskAttention(nn.Module):
    """Look at the query's features under the support's mask; one for all scales."""

    size: Size
    dropout: float = 0.2

    @nn.compact
    def __call__(
        self, features: Float[Array, "N G J C"], mask: Float[Array, "N G J"], *, still: bool
    ) -> Float[Array, "N G J C"]:
        n, height, width, channels = features.shape
        x = features.reshape(n, -1, channels)
        value = jnp.broadcast_to(mask.reshape(n, -1, 1), x.shape)
        for number in range(ROUNDS):
            value = x * CrossAttention(channels, self.size.num_heads, name=f"layers_{number}")(
                x, x * value, value
            )
        y = LayerNorm(epsilon=1e-5, name="norm1")(value + x)
        y = nn.Dropout(self.dropout, deterministic=still)(y)
        think = MLP((self.size.hidden, channels), ("lin1", "lin2"), nn.relu, name="mlp")
        z = LayerNorm(epsilon=1e-5, name="norm2")(think(y) + y)
        return nn.Dropout(self.dropout, deterministic=still)(z).reshape(features.shape)
