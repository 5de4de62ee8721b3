"""The self-sampling layer: features at sampled points become prompts, and prompts tell the image.

Two rounds: a few learned vectors and the point tokens look at each other; then every place of the
image looks at the learned vectors, which by then know what lies under the points.
"""

from collections.abc import Callable

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmeta.models.sam.decoder import CrossAttention
from jaxmeta.models.sam.layers import MLP, LayerNorm
from jaxmeta.models.sam.size import Size
from jaxmeta.models.ssm_sam.points import features_at

ROUNDS, LEARNED = 2, 10
NORMAL = nn.initializers.normal(0.1)


def shared_vectors(module: nn.Module, images: int, width: int) -> Float[Array, "N L D"]:
    """Learn vectors that all images share."""
    learned = module.param("learned", NORMAL, (1, LEARNED, width))
    return learned[jnp.zeros(images, int)]


class Asked(nn.Module):
    """One round."""

    size: Size
    vectors: Callable[..., Float[Array, "N L D"]]

    @nn.compact
    def __call__(self, points, image):
        width = self.size.features

        def norm(x, number):
            return LayerNorm(epsilon=1e-5, name=f"norm{number}")(x)

        learned = self.vectors(self, image.shape[0], width)
        asking = jnp.concatenate([learned, points], axis=1)
        heard = norm(
            CrossAttention(width, self.size.num_heads, name="self_attn")(asking, asking, asking), 1
        )
        asking = norm(asking + heard, 2)
        learned, points = asking[:, :LEARNED], asking[:, LEARNED:]
        think = MLP((self.size.hidden, width), ("lin1", "lin2"), nn.relu, name="mlp")
        learned = norm(learned + think(learned), 3)
        attend = CrossAttention(width // 2, self.size.num_heads, name="cross_attn_image_to_token")
        return points, norm(image + attend(image, learned, learned), 4)


class SelfSampler(nn.Module):
    """Let an image's features be told by what lies under points.

    `vectors(module, images, width)` makes the learned vectors of each image.
    """

    size: Size
    vectors: Callable[..., Float[Array, "N L D"]] = shared_vectors

    @nn.compact
    def __call__(
        self, features: Float[Array, "N G J C"], points: Float[Array, "N K 2"]
    ) -> Float[Array, "N G J C"]:
        asking = features_at(features, points, self.size.image)
        image = features.reshape(features.shape[0], -1, features.shape[-1])
        for number in range(ROUNDS):
            turn = Asked(self.size, self.vectors, name=f"layers_{number}")
            asking, image = turn(asking, image)
        return image.reshape(features.shape)
