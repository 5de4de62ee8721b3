"""Segment Anything with low-rank adapters and no prompts: its options, and what it begins with."""

from collections.abc import Callable
from typing import Any, Literal

from jaxtyping import PyTree

from jaxmeta.errors import BadInput
from jaxmeta.methods.networks.network import Network
from jaxmeta.methods.networks.segment_anything import (
    converted,
    for_slices,
    preprocessing_of,
    weights_of,
)
from jaxmeta.methods.origins import told_of
from jaxmeta.models import Model
from jaxmeta.models.sam import SIZES, Size
from jaxmeta.models.sam.low_rank import begun_by, low_rank_sam
from jaxmeta.options import options


@options
class LowRankSam:
    """Segment Anything without prompts: low-rank adapters in a frozen image encoder."""

    size: Literal["tiny", "vit-b", "vit-l", "vit-h"] = "tiny"
    """Of the weights that the run begins with."""
    rank: int = 4
    """Channels inside an adapter."""
    last_blocks: int = 0
    """Adapt only so many blocks, the last ones; 0: all."""


def size_of(config: Any) -> Size:
    """Say how large it is."""
    return for_slices(SIZES[config.network.size], config.tasks.size)


def model(config: Any, outputs: int, *, features: bool = False) -> Model:
    """Make it; a mask decoder has one output for a structure, and none that describe pixels."""
    if outputs != 1 or features:
        raise BadInput("low-rank-sam segments one structure: it has no heads, and no features")
    own = config.network
    return low_rank_sam(size_of(config), rank=own.rank, last=own.last_blocks or None)


def begun(config: Any, read: Callable[[], PyTree]) -> PyTree:
    """Read what a run begins with: a run of this network, or a Segment Anything."""
    if told_of(config.origin).get("network", {}).get("type") == LOW_RANK_SAM.name:
        return read()
    learned = None if converted(config.origin) else read()
    return begun_by(weights_of(config, size_of(config), learned), preprocessing_of(config))


def check(config: Any) -> None:
    """Refuse a beginning at random, and adapters that do not fit."""
    own = config.network
    if config.origin is None:
        raise BadInput(
            "low-rank-sam needs `init_from`: a run of sam-tiny, or a folder that `jaxmeta "
            "convert-sam` wrote"
        )
    size = size_of(config)
    if own.rank < 1:
        raise BadInput(f"`network.rank={own.rank}`: must be at least 1")
    if not 0 <= own.last_blocks <= size.depth:
        raise BadInput(
            f"`network.last_blocks={own.last_blocks}`: the image encoder has {size.depth} blocks"
        )


LOW_RANK_SAM = Network(
    "low-rank-sam", LowRankSam, model, check=check, begin=begun, stateful=lambda config: "frozen"
)
