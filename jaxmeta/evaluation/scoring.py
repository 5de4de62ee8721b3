"""From fitted segmenters to the scores of whole volumes: what most protocols score by.

Volumes are cut into chunks of one size, the last one padded, and one volume is in memory at a time.
Read `Score`, `whole_volume`, then `score_volumes`.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmeta.evaluation.segmenter import Segmenter, together
from jaxmeta.evaluation.trial import NO_SUPPORT, Query, Support, Trial, places
from jaxmeta.metrics import Measures, measure

NAN = float("nan")
CASE = dict(  # whose score it is: of which row, under which support, of which volume
    row=str,
    organ=str,
    support_set=int,
    support_patients=str,
    support_slices=str,
    patient=str,
    case=str,
)
TEST = dict(shots=0, run="", cohort="")  # cohort tells apart patients of one name in other data
FIRST = ("dice", "iou", "outcome")
LATER = tuple(name for name in Measures._fields if name not in FIRST)

Score = NamedTuple(
    "Score",
    [
        *CASE.items(),
        *((name, Measures.__annotations__[name]) for name in FIRST),
        *((name, type(usual)) for name, usual in TEST.items()),
        *((name, Measures.__annotations__[name]) for name in LATER),
    ],
)
Score.__doc__ = """The score of one query volume under one support: a line of scores.csv.

It has every one of `Measures`, so a new measure needs no line here.
"""
Score.__new__.__defaults__ = (*TEST.values(), *[NAN] * len(LATER))


def support_set_keys(support_sets: int, seed: int, of: str = "") -> np.ndarray:
    """Make one raw key for each support set of an organ: segmenters begin anew with each."""
    organ = zlib.crc32(of.encode())
    streams = [
        np.random.default_rng((seed, organ, support_set, 1)) for support_set in range(support_sets)
    ]
    return np.stack([stream.integers(2**32, size=2, dtype=np.uint32) for stream in streams])


def whole_volume(
    segmenter: Segmenter, fitted: Any, image: Float[np.ndarray, "N H W C"], *, chunk: int = 16
) -> Float[np.ndarray, "T N H W"]:
    """Segment all slices of a volume, `chunk` at a time; the last chunk repeats its last slice.

    What sees a volume whole has one chunk; what is told of a volume is told of the whole.
    """
    place = places(len(image))
    prompt = segmenter.tell(fitted, image, place) if segmenter.tell else None
    chunk = len(image) if segmenter.whole else chunk
    parts = []
    for start in range(0, len(image), chunk):
        index = np.minimum(np.arange(start, start + chunk), len(image) - 1)
        told = () if prompt is None else (prompt[:, index],)
        parts.append(segmenter.segment(fitted, image[index], place[index], *told))
    return np.concatenate([np.asarray(part) for part in parts], axis=1)[:, : len(image)]


def score_volumes(
    segmenters: Sequence[Segmenter],
    trial: Trial,
    *,
    seed: int = 0,
    chunk: int = 16,
    measured: Callable[..., Measures] = measure,
) -> Iterator[tuple[Score, Query, Bool[np.ndarray, "N H W"]]]:
    """Fit every segmenter to every support of a trial, then score every query volume in 3-D.

    `measured(mask, truth, spacing=)` says by which convention. Yields each score with its volume
    and its mask.
    """
    for segmenter, query, probability in segmented_trial(segmenters, trial, seed=seed, chunk=chunk):
        for number, support in enumerate(trial.supports or (NO_SUPPORT,)):
            asked = trial.answers.get(query.patient, number) == number
            if query.patient in support.patients or not asked:
                continue
            mask = query.finish(probability[number])
            found = measured(mask, query.target, spacing=query.spacing)
            score = score_of(segmenter.name, trial.organ, number, [support], query, found)
            yield score, query, mask


def segmented_trial(
    segmenters: Sequence[Segmenter], trial: Trial, *, seed: int, chunk: int
) -> Iterator[tuple[Segmenter, Query, Float[np.ndarray, "T N H W"]]]:
    """Fit every segmenter to every support of a trial, then segment every query volume by all of
    them.

    One volume is in memory at a time.
    """
    fitted = [fit(segmenter, trial, seed) for segmenter in segmenters]
    for load in trial.queries:
        query = load()
        for segmenter, parameters in zip(segmenters, fitted, strict=True):
            yield segmenter, query, whole_volume(segmenter, parameters, query.image, chunk=chunk)


def fit(segmenter: Segmenter, trial: Trial, seed: int) -> Any:
    """Fit a segmenter to all supports of a trial at once, or without any to None."""
    keys = support_set_keys(trial.support_sets, seed, f"{trial.dataset}/{trial.organ}")
    return segmenter.fit(together(trial.supports) if trial.supports else None, keys)


def score_of(
    row: str,
    organ: str,
    support_set: int,
    supports: Sequence[Support],
    query: Query,
    found: Measures,
) -> Score:
    """Name a score: who answered, which question, from whose slices."""
    return Score(
        row=row,
        organ=organ,
        support_set=support_set,
        support_patients=" ".join(dict.fromkeys(p for s in supports for p in s.patients)),
        support_slices=" ".join(at for s in supports for at in s.slices),
        patient=query.patient,
        case=query.case,
        **found._asdict(),
    )
