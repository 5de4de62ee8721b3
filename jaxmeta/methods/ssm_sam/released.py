"""What the code released with SSM-SAM does otherwise than its paper, wrapped around the method.

For comparison only: nothing of it stands in the method itself. Each function takes a part of the
method and gives the part as released.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmeta.algorithms import Algorithm
from jaxmeta.models.sam.adapters import Adapter
from jaxmeta.models.ssm_sam import SsmSam
from jaxmeta.splits.split import Entry
from jaxmeta.tasks.slice_chunks import Chunk, chunked


def mixed_tokens(adapter: Adapter) -> Adapter:
    """Read the patch embedding [H, W, D] as if it were [D, H, W], so that a token's prompt sees
    pieces of many patches."""

    def encode(variables, prefix):
        n, *grid, channels = prefix.patches.shape
        patches = jnp.moveaxis(prefix.patches.reshape(n, channels, *grid), 1, -1)
        return adapter.encode(variables, prefix._replace(patches=patches))

    return adapter._replace(encode=encode)


def transposed_points(network: SsmSam) -> SsmSam:
    """Read points as (y, x)."""

    def apply(frozen, learned, prefix, points, mask, *, key=None):
        return network.apply(frozen, learned, prefix, points[..., ::-1], mask, key=key)

    return network._replace(apply=apply)


def repeated_support(algorithm: Algorithm, copies: int) -> Algorithm:
    """Repeat each support slice online, for a sampler that has as many copies of what it learns as
    a batch has slices."""

    def adapt(meta, support, key):
        many = jax.tree.map(lambda a: jnp.repeat(a, copies, axis=0), support)
        phi = algorithm.adapt(meta, many, key)
        once = {name: getattr(phi, name)[::copies] for name in ("masks", "points", "valid")}
        return phi._replace(**once)

    return algorithm._replace(adapt=adapt)


def raw_colors(image: Float[Array, "N H W 1"]) -> Float[Array, "N H W 3"]:
    """Show slices that come as pictures, from 0 to 1, just so in all colors."""
    return jnp.broadcast_to(image, (*image.shape[:-1], 3))


def chunks_across(entry: Entry, patients: Sequence[str], width: int, stride: int) -> list[Chunk]:
    """Cut the slices of all patients as if they were of one scan."""
    every = [
        (volume, int(n))
        for patient in patients
        for volume, slices in entry.patients[patient]
        for n in sorted(slices)
    ]
    return chunked(every, width, stride)
