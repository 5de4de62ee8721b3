"""Segment Anything without prompts, for one structure: its image encoder with low-rank adapters.

As SAMed has it (Zhang and Liu 2023, arXiv 2304.13785): thin matrices beside the maps to queries and
values of every block, and the whole mask decoder, are learned; the image encoder itself and the
prompt encoder, which says "nothing was pointed at", stay as they are. These frozen weights are no
variables but state, which every call is given and hands on unchanged, with how they were shown
images.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxmeta.models.model import Model, Trained
from jaxmeta.models.sam.adapters import adapted_blocks, before_adapters, low_rank
from jaxmeta.models.sam.images import Preprocessing, slices_as_colors
from jaxmeta.models.sam.sam import sam
from jaxmeta.models.sam.size import Size

LEARNED, FROZEN = "mask_decoder", ("image_encoder", "prompt_encoder")
SEEN = "preprocessing"


def low_rank_sam(size: Size, *, rank: int = 4, last: int | None = None) -> Model:
    """Make it, of one output; `last` adapts the last blocks alone."""
    network = sam(size)
    adapter = low_rank(size, last=last, rank=rank)

    def init(key) -> dict[str, Any]:
        own, masks = jax.random.split(key)
        return {"adapter": adapter.init(own), LEARNED: network.init(masks)[LEARNED]}

    def begin() -> PyTree:
        drawn = network.init(jax.random.key(0))
        return begun_by(drawn).state

    def apply(
        variables, image: Float[Array, "N S S 1"], prompt=(), *, key=None, train=False, state
    ) -> tuple[Float[Array, "N S S 1"], PyTree]:
        fixed = state["image_encoder"]
        prefix = before_adapters(network.parts, fixed, adapter, seen(image, state))
        of = network.parts, fixed, adapter, variables["adapter"], prefix, size.depth
        embedding = network.parts.neck(fixed, adapted_blocks(*of)[-1])
        logits, _ = network.decode(state | {LEARNED: variables[LEARNED]}, embedding)
        shape = (*image.shape[:3], 1)
        return jax.image.resize(logits, shape, "linear").astype(jnp.float32), state

    return Model(init, apply, state=begin)


def seen(image: Float[Array, "N S S 1"], state: PyTree) -> Float[Array, "N S S 3"]:
    """Show slices as the frozen weights learned to see images."""
    return slices_as_colors(image, Preprocessing(**state[SEEN]))


def begun_by(weights: PyTree, how: Preprocessing = Preprocessing()) -> Trained:
    """Divide the weights of a Segment Anything into what is learned on from there, and what stays:
    among that is how they were shown images."""
    kept = {name: weights[name] for name in FROZEN}
    kept[SEEN] = {name: jnp.asarray(getattr(how, name)) for name in ("mean", "std")}
    return Trained({LEARNED: weights[LEARNED]}, kept)
