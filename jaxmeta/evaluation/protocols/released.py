"""What SSM-SAM's released code scores, beside the scores within volumes.

That code counts a pixel from another probability on, nothing along the border, drops chunks that
went badly, and averages over chunks at the network's size.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Float

from jaxmeta.errors import BadInput
from jaxmeta.evaluation.protocol import Description, Protocol
from jaxmeta.evaluation.protocols.within_volume import AskedVolume, Within, answers
from jaxmeta.evaluation.scoring import LATER, NAN
from jaxmeta.evaluation.segmenter import Segmenter
from jaxmeta.options import options

RELEASED = ", scored as released"  # added to the name of a row
COUNTED = (
    "slices at the network's size, counted as told above (the mean of volumes, there of chunks)"
)

UNMEASURED = dict.fromkeys(("iou", *LATER), NAN)  # that code has Dice alone


class Counting(NamedTuple):
    """How SSM-SAM's released code scores, each part by itself."""

    least: float  # chunks of less Dice are dropped: there 0.1 for CT, 0.3 for MR
    threshold: float = 170 / 255  # above which a probability is the structure
    border: float = 45 / 1024  # share of a side in which nothing is


AS_USUAL = Counting(0)


@options
class Released:
    """Scores as the released code counts them, beside the others; for comparison only."""

    as_released: Literal["off"] | float = "off"
    """Of --protocol within-volume: also score as the released code does: chunks of less than this
    Dice are dropped (there 0.1 for CT, 0.3 for MR), and the next two."""
    released_threshold: float = AS_USUAL.threshold
    """Of --as-released: the probability from which a pixel is the structure; 0.5 as in every other
    score."""
    released_border: float = AS_USUAL.border
    """Of --as-released: the share of a side, along the border, in which nothing counts as found; 0:
    none."""


def check(asked: Released) -> None:
    """Refuse options of a test that count nothing, or are given without what they change."""
    least, threshold, border = (
        asked.as_released,
        asked.released_threshold,
        asked.released_border,
    )
    if least != "off" and not 0 <= least <= 1:
        raise BadInput(f"`as_released={least:g}`: a Dice, from 0 to 1")
    for name in ("threshold", "border"):
        option = f"released_{name}"
        if least == "off" and getattr(asked, option) != getattr(AS_USUAL, name):
            raise BadInput(f"`{option}`: it is for `as_released`")
    if not (0 <= threshold < 1 and 0 <= border < 0.5):
        raise BadInput(
            f"`released_threshold={threshold:g}` `released_border={border:g}`: "
            "from 0 to below 1, and to below 0.5"
        )


def scored(protocol: Protocol, asked: Released, clicks: int = 0) -> Protocol:
    """Score so besides, where the options of a test ask for it."""
    if asked.as_released == "off":
        return protocol
    how = Counting(asked.as_released, asked.released_threshold, asked.released_border)
    return as_released(protocol, how, clicks)


def as_released(protocol: Protocol, how: Counting, clicks: int = 0) -> Protocol:
    """Let each score within a volume be followed by the one that the released code gives."""

    def score(segmenters: Sequence[Segmenter], trial: Within, **asked) -> Iterator[tuple]:
        for found, query, mask, volume, probability in answers(
            segmenters, trial, clicks=clicks, **asked
        ):
            yield found, query, mask
            dice = dice_as_released(probability, volume, how)
            if not np.isnan(dice):
                scored = dict(row=found.row + RELEASED, dice=dice)
                yield found._replace(**scored, **UNMEASURED), query, mask

    def describe(*asked) -> Description:
        told = protocol.describe(*asked)
        return told._replace(
            asked=f"{told.asked}; scored as released: a pixel from {how.threshold:.3g} on, none "
            f"within {how.border:.3g} of a side from the border, chunks of a Dice below "
            f"{how.least:g} dropped"
        )

    return protocol._replace(score=score, describe=describe)


def dice_as_released(
    probability: Float[np.ndarray, "N S S"], volume: AskedVolume, how: Counting
) -> float:
    """Average over chunks the mean Dice of their slices, at the network's size, as SSM-SAM's code
    does.

    NaN where all chunks are dropped.
    """
    side = probability.shape[1]
    edge = round(how.border * side)
    seen = np.zeros(probability.shape, bool)
    inner = slice(edge, side - edge)
    seen[:, inner, inner] = probability[:, inner, inner] > how.threshold
    both, size = seen & (volume.truth > 0), seen.sum((1, 2)) + (volume.truth > 0).sum((1, 2))
    each = 2 * both.sum((1, 2)) / np.maximum(size, 1)
    chunks = [float(each[list(asked)].mean()) for asked in volume.asked]
    kept = [dice for dice in chunks if dice >= how.least]
    return float(np.mean(kept)) if kept else NAN
