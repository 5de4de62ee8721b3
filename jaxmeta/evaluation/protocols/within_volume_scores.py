"""Scores within volumes: each chunk of neighboring slices by a network adapted to its middle one.

`tasks/trial_within.py` says what is asked. The support slices are left out of the
score, and with holes in a volume there are no distances between surfaces.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxmeta.evaluation.protocols.within_volume import Volume, Within
from jaxmeta.evaluation.segmenter import NAN, Case, Row, case_of, draw_keys, together
from jaxmeta.evaluation.trial import Query
from jaxmeta.metrics import Measures, measure
from jaxmeta.tasks.slice_chunks import clicks_on

RELEASED = ", scored as released"  # added to the name of a row
SUPPORT_SETS = 4  # chunks that are adapted to in one call
FLAT = dict(hd95=NAN, assd=NAN, asd=NAN, asd_back=NAN, nsd=NAN)


class Released(NamedTuple):
    """How SSM-SAM's released code scores, each part by itself."""

    least: float  # chunks of less Dice are dropped: there 0.1 for CT, 0.3 for MR
    threshold: float = 170 / 255  # above which a probability is the structure
    border: float = 45 / 1024  # share of a side in which nothing is


def score_within(
    rows: Sequence[Row],
    trial: Within,
    *,
    seed: int = 0,
    clicks: int = 0,
    released: Released | None = None,
    measured: Callable[..., Measures] = measure,
) -> Iterator[tuple[Case, Query, Bool[np.ndarray, "N H W"]]]:
    """Score every row on every volume of a trial.

    With `clicks` each slice is told as many places on its own truth. SSM-SAM's released code draws
    them on the truths of a chunk together, and tells every slice the same: it knows a little less.
    With `released`, a second score is as that code has it.

    Yields each case with its volume and the mask; both are empty where nothing was asked.
    """
    for load in trial.queries:
        volume = load()
        query = volume.query
        asked = sorted(n for chunk in volume.asked for n in chunk)
        left_out = np.setdiff1d(np.arange(len(query.target)), asked)
        target = query.target.copy()
        target[left_out] = False
        query = query._replace(target=target)
        for row in rows:
            probability = segmented(row, volume, trial, seed, clicks)
            mask = query.finish(probability)
            mask[left_out] = False
            found = measured(mask[asked], query.target[asked], spacing=query.spacing)
            case = case_of(row.name, trial.organ, 0, volume.supports, query, found)
            yield case._replace(**FLAT), query, mask
            dice = NAN if released is None else dice_as_released(probability, volume, released)
            if not np.isnan(dice):
                scored = dict(row=case.row + RELEASED, dice=dice, iou=NAN, **FLAT)
                rest = dict(precision=NAN, recall=NAN, volume_error=NAN)
                yield case._replace(**scored, **rest), query, mask


def segmented(
    row: Row, volume: Volume, trial: Within, seed: int, clicks: int
) -> Float[np.ndarray, "N S S"]:
    """Adapt to each chunk, DRAWS of them in a call, and segment what it asks; 0 elsewhere."""
    query, image = volume.query, volume.query.image
    found = np.zeros(image.shape[:3], np.float32)
    width = max(len(asked) for asked in volume.asked)
    keys = draw_keys(len(volume.asked), seed, f"{trial.dataset}/{trial.organ}/{query.case}")
    rng = np.random.default_rng(keys.ravel())
    for start in range(0, len(volume.asked), SUPPORT_SETS):
        block = np.minimum(np.arange(start, start + SUPPORT_SETS), len(volume.asked) - 1)
        fitted = row.fit(together([volume.supports[n] for n in block]), keys[block])
        index = np.array([filled(volume.asked[n], width) for n in block])
        prompt = clicked(volume.truth[index], clicks, rng) if clicks else ()
        probability = np.asarray(row.segment_each(fitted, image[index], prompt))
        for number, chunk in enumerate(volume.asked[start : start + SUPPORT_SETS]):
            found[list(chunk)] = probability[number, : len(chunk)]
    return found


def filled(asked: Sequence[int], width: int) -> list[int]:
    """Repeat the last slice until there are `width`."""
    return [*asked, *[asked[-1]] * (width - len(asked))]


def clicked(
    truth: UInt8[np.ndarray, "T W S S"], count: int, rng: np.random.Generator
) -> Float[np.ndarray, "T W K 2"]:
    """Click on each slice's own truth."""
    return np.stack([[clicks_on(mask, count, rng) for mask in chunk] for chunk in truth])


def dice_as_released(
    probability: Float[np.ndarray, "N S S"], volume: Volume, how: Released
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
