"""What the code released with MLB-Seg does otherwise, for comparison only.

Each function takes a part of the method and gives the part as released, where it is asked for.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import UInt8

from jaxmeta.data.grid import Grid, resize_image
from jaxmeta.learners.mlb_seg import Rule
from jaxmeta.options import options
from jaxmeta.splits.pool import Pool


@options
class Released:
    """What the code released with the paper does otherwise; for comparison only."""

    zero_borders: bool = False
    """What a look does not show counts as 0, in the ensemble, in agreement and in the losses, and
    of two looks that should agree the first alone learns it."""
    teacher_resets: bool = False
    """The teacher becomes a copy of the student at the beginning of each pass over the
    unlabelled."""
    dilated_masks: bool = False
    """A pixel of a resized mask is in it if any part of it is."""


def as_released(how: Released, rule: Rule, epoch_steps: int) -> Rule:
    """Choose what counts beyond looks, and when the teacher begins anew."""
    if how.teacher_resets:
        rule = rule._replace(teacher_step=every(epoch_steps))
    return rule._replace(published=how.zero_borders)


def every(steps: int) -> Callable:
    """Count steps from 0 anew after so many."""
    return lambda step: step % steps


def drawn_as_released(how: Released, drawn: Pool) -> Pool:
    """Choose how masks are resized."""
    if not how.dilated_masks:
        return drawn
    seen = drawn.shards.preprocessing._replace(masks=dilated_masks)
    return drawn._replace(shards=drawn.shards._replace(preprocessing=seen))


def dilated_masks(
    slices: UInt8[np.ndarray, "N H W"], size: int, grid: Grid, *, spacing: float | None = None
) -> UInt8[np.ndarray, "N S S"]:
    """Resize binary slices linearly, and keep whatever is above 0."""
    small = resize_image(slices.astype(np.float32), size, grid, spacing=spacing)
    return (small > 0).astype(np.uint8)


def settled(how: Released, config: Any, slices: int) -> int:
    """Say how many steps a pass over so many unlabelled slices takes."""
    return max(1, slices // (config.tasks.queries * config.tasks.batch_size))
