"""Scoring all trials of a test, with what is at work told on the way."""

import time
from collections.abc import Callable, Iterator, Sequence

import jax

from jaxmeta.data.names import amount
from jaxmeta.evaluation.outcome import Measuring, measured
from jaxmeta.evaluation.scoring import score_volumes
from jaxmeta.evaluation.segmenter import Segmenter
from jaxmeta.progress import following, slow_start


def followed(
    segmenters: Sequence[Segmenter],
    asked: Sequence,  # trials
    seed: int,
    what: str,
    how: Measuring,
    scored: Callable[..., Iterator] = score_volumes,
) -> Iterator:
    """Score all trials, and tell how many volumes are done and what is at work."""
    volumes = sum(len(trial.queries) for trial in asked)
    asking = f"{amount(volumes, 'volume')}, {amount(len(segmenters), 'row')}"
    first = f"{what}: {asking}; {slow_start()}"
    with following(what, "volume", volumes, first=first) as tell:
        for trial in asked:
            heard = [heard_of(each, trial.organ, tell) for each in segmenters]
            last = None
            for score, query, mask in scored(heard, trial, seed=seed, measured=measured(how)):
                if query.case != last:
                    tell(more=1, note=f"{trial.organ} of {query.case}")
                last = query.case
                yield score, query, mask


def heard_of(segmenter: Segmenter, organ: str, tell: Callable[..., None]) -> Segmenter:
    """Make the same segmenter, whose adaptations, which may take minutes each, are told when they
    begin."""

    def fit(supports, keys):
        tell(note=f"{segmenter.name} adapts to {organ}")
        return segmenter.fit(supports, keys)

    return segmenter._replace(fit=fit)


def timed_segmenter(segmenter: Segmenter) -> tuple[Segmenter, list[float]]:
    """Make the same segmenter, and the list to which each of its adaptations adds its seconds."""
    took = []

    def fit(supports, keys):
        began = time.perf_counter()
        fitted = jax.block_until_ready(segmenter.fit(supports, keys))
        took.append(time.perf_counter() - began)
        return fitted

    return segmenter._replace(fit=fit), took
