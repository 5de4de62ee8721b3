"""What the code released with SSM-SAM does otherwise than its paper, wrapped around the method.

For comparison only: nothing of it stands in the method itself. Each function takes a part of the
method and gives the part as released; the first ones ask `Released` whether they should.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from jaxmeta.algorithms import Algorithm
from jaxmeta.errors import BadInput
from jaxmeta.models.sam.adapters import Adapter
from jaxmeta.models.ssm_sam import SsmSam
from jaxmeta.models.ssm_sam.released import in_turn
from jaxmeta.models.ssm_sam.sampler import shared_vectors
from jaxmeta.options import options
from jaxmeta.splits.pool import Entry
from jaxmeta.tasks.slice_chunks import Chunk, Cut, chunked, chunks_within


@options
class Released:
    """What the code released with the paper does otherwise; for comparison only."""

    mixed_tokens: bool = False
    """Read the patch embedding in the wrong order for the prompts."""
    transposed_points: bool = False
    """Read points as (y, x)."""
    raw_colors: bool = False
    """Show slices from 0 to 1, without ImageNet's mean and spread; needs --released.as-uint8."""
    across: bool = False
    """Chunks that run on from one scan into the next."""
    copies: int = 1
    """Learned queries of the sampler, one for each slice of a batch; there: the batch's size."""


def check(config: Any) -> None:
    """Refuse what does not go together."""
    how = config.method.released
    if how.copies < 1:
        raise BadInput(f"`method.released.copies={how.copies}`: must be at least 1")
    if how.raw_colors and not config.released.as_uint8:
        raise BadInput(
            "`method.released.raw_colors` needs `released.as_uint8`, whose slices are from 0 to 1"
        )


def encoded(how: Released, adapter: Adapter) -> Adapter:
    """Choose what the adapter reads."""
    return mixed_tokens(adapter) if how.mixed_tokens else adapter


def vectors(how: Released) -> Callable:
    """Choose whose the sampler's learned vectors are."""
    return in_turn(how.copies) if how.copies > 1 else shared_vectors


def pointed(how: Released, network: SsmSam) -> SsmSam:
    """Choose how points are read."""
    return transposed_points(network) if how.transposed_points else network


def adapted(how: Released, algorithm: Algorithm) -> Algorithm:
    """Choose what is adapted to."""
    return repeated_support(algorithm, how.copies) if how.copies > 1 else algorithm


def colored(how: Released, colors: Callable) -> Callable:
    """Choose how slices become colors."""
    return raw_colors if how.raw_colors else colors


def cut(how: Released) -> Cut:
    """Choose how scans are cut into chunks."""
    return chunks_across if how.across else chunks_within


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
