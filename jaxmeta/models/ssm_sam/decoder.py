"""The flexible mask attention decoder: features of four depths, each under the support's mask,
become one map."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmeta.models.layers import GroupNorm, corner_aligned
from jaxmeta.models.sam.layers import Convolution3
from jaxmeta.models.sam.size import Size
from jaxmeta.models.ssm_sam.mask_attention import MaskAttention


class Squeeze(nn.Module):
    """Convolutions to half the features, each normalized by itself and rectified."""

    features: int
    times: int

    @nn.compact
    def __call__(self, x: Float[Array, "N G J C"]) -> Float[Array, "N G J D"]:
        for number in range(self.times):
            x = Convolution3(self.features, name=f"conv_{number}")(x)
            x = nn.relu(GroupNorm(self.features, affine=False, name=f"norm_{number}")(x))
        return x


class FlexibleDecoder(nn.Module):
    """From features of several depths to logits of the whole image."""

    size: Size
    attends: bool = True  # looks under the mask at all
    dropout: float = 0.2

    @nn.compact
    def __call__(
        self,
        scales: Sequence[Float[Array, "N G J C"]],
        mask: Float[Array, "N G J"],
        *,
        still: bool,
    ) -> Float[Array, "N S T"]:
        half = self.size.features // 2
        if self.attends:
            under = MaskAttention(self.size, self.dropout, name="mask_attention")
            scales = [under(x, mask, still=still) for x in scales]
        parts = [Squeeze(half, 2, name=f"scale_{n}")(x) for n, x in enumerate(scales)]
        x = Squeeze(half, 1, name="join")(jnp.concatenate(parts, axis=-1))
        x = Convolution3(1, name="head")(x)[..., 0]
        rows, columns = (corner_aligned(n, 4 * n) for n in x.shape[1:])
        x = jnp.einsum("Hh,nhw,Ww->nHW", rows, x, columns)
        return jax.image.resize(x, (x.shape[0], self.size.image, self.size.image), "linear")
