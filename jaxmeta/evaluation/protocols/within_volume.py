"""What is asked within a volume, as SSM-SAM's authors ask (arXiv 2308.16466): a slice for its
neighbors.

The slices that show the organ are cut into chunks of `width` neighbors. The middle one of a chunk
is labelled and adapted to, the others are segmented; so somebody labels a part of every volume, and
knows which slices show the organ. `labelled` says how many those are. Where the organ vanishes from
the middle slice at the network's size (at COMMON, if that is smaller), the nearest of its chunk in
which it does not is labelled instead.

The support slices are left out of the score, and with holes in a volume there are no distances
between surfaces. `released.py` scores as the released code does besides.
"""

from collections.abc import Callable, Iterator, Sequence, Set
from functools import partial
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, UInt8

from jaxmeta.data.shards.load import load_masks
from jaxmeta.data.shards.shards import Shards
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.protocol import Description, Protocol, Request
from jaxmeta.evaluation.scoring import NAN, Score, score_of, support_set_keys
from jaxmeta.evaluation.segmenter import Segmenter, together
from jaxmeta.evaluation.supports import COMMON
from jaxmeta.evaluation.trial import Query, Support, query, support_of
from jaxmeta.metrics import Measures, measure
from jaxmeta.metrics.conventions import DISTANCES
from jaxmeta.splits.pool import Entry, Pool
from jaxmeta.tasks.slice_chunks import chunked, clicks_on, refuse_narrow

AT_ONCE = 4  # chunks that are adapted to in one call
FLAT = dict.fromkeys((*DISTANCES, "nsd"), NAN)  # a volume with holes has no surface


class AskedVolume(NamedTuple):
    """A volume to be asked of, and for each of its chunks who gives and which slices are asked."""

    query: Query
    truth: UInt8[np.ndarray, "N S S"]  # at the network's size
    supports: tuple[Support, ...]  # of one slice each
    asked: tuple[tuple[int, ...], ...]  # slices of the volume; no slice twice, and none that gives


class Within(NamedTuple):
    """One organ of one data set under test; `queries` are loaded when called, one at a time."""

    organ: str
    dataset: str
    entry: Entry
    queries: tuple[Callable[[], AskedVolume], ...]
    labelled: int  # support slices
    asked: int  # slices that are segmented and scored
    shown: int  # slices that show the organ

    @property
    def support_sets(self) -> int:
        """Say how many supports are adapted to in one call."""
        return AT_ONCE


def trials(pool: Pool, request: Request) -> tuple[Within, ...]:
    """Make what is asked of every entry of the pool.

    Raises BadInput where no volume of an organ has a second slice to ask.
    """
    width, (size, mm) = request.conditions.neighbors, request.read.values()
    if width is None:
        raise BadInput("`protocol=within-volume` needs `neighbors`: 5 in CT, 3 in MR, say")
    refuse_narrow(width, 1)
    made = []
    for entry in pool.entries:
        scans = {v: slices for held in entry.patients.values() for v, slices in held}
        read = dict(structure=entry.organ, size=min(size, COMMON), spacing=mm)
        chunks_cut = {
            v: chunks_with_support(pool.shards, v, slices, width, **read)
            for v, slices in scans.items()
        }
        asked = {v: chunks for v, chunks in chunks_cut.items() if chunks}
        if not asked:
            raise BadInput(
                f"no volume shows {entry.organ} in two slices: nothing to ask within one"
            )
        load = partial(load_within, pool, entry, size=size, mm=mm)
        given = sum(len(chunks) for chunks in asked.values())
        others = sum(len(others) for chunks in asked.values() for _, others in chunks)
        shown = sum(map(len, scans.values()))
        queries = tuple(partial(load, v, chunks) for v, chunks in asked.items())[: request.most]
        made.append(Within(entry.organ, entry.dataset, entry, queries, given, others, shown))
    return tuple(made)


def chunks_with_support(
    shards: Shards, volume: int, slices: Sequence[int] | np.ndarray, width: int, **read
) -> list[tuple[int, list[int]]]:
    """Cut a volume's slices into chunks, each with a support slice in which the organ can be
    seen."""
    slices = sorted(int(n) for n in slices)
    seen = load_masks(shards, volume, slices, **read).any((1, 2))
    return cut_chunks(
        slices, {n for n, any_pixel in zip(slices, seen, strict=True) if any_pixel}, width
    )


def cut_chunks(slices: Sequence[int], seen: Set[int], width: int) -> list[tuple[int, list[int]]]:
    """Cut slices into chunks, each with a support slice out of `seen`, the nearest to its middle.

    Each slice that does not give goes to the first chunk that has it. Chunks in which nobody can
    give, or nobody is left to ask, are left out.
    """
    runs = [
        sorted({n for _, n in chunk}) for chunk in chunked([(0, n) for n in slices], width, width)
    ]
    chunks_cut, taken, chosen = [], set(), []
    for run in runs:
        middle = len(run) // 2
        able = [place for place, n in enumerate(run) if n in seen and n not in taken]
        if able:
            support_slice = run[min(able, key=lambda place: abs(place - middle))]
            taken.add(support_slice)
            chosen.append((support_slice, run))
    for support_slice, run in chosen:
        own = [n for n in run if n not in taken]
        taken.update(own)
        if own:
            chunks_cut.append((support_slice, own))
    return chunks_cut


def load_within(
    pool: Pool,
    entry: Entry,
    volume: int,
    chunks: Sequence[tuple[int, list[int]]],
    *,
    size: int,
    mm: float | None,
) -> AskedVolume:
    """Read a volume and the support slices."""
    scan = pool.shards.volumes[volume]
    supports = tuple(
        support_of(pool.shards, entry.organ, [(volume, n)], (scan.patient,), size=size, mm=mm)
        for n, _ in chunks
    )
    asked = tuple(tuple(others) for _, others in chunks)
    whole = query(pool.shards, volume, entry.organ, size=size, mm=mm)
    every = range(len(whole.target))
    truth = load_masks(pool.shards, volume, every, entry.organ, size=size, spacing=mm)
    return AskedVolume(whole, truth, supports, asked)


class Answer(NamedTuple):
    """What a segmenter made of a volume: its score, and what that is of."""

    score: Score
    query: Query  # whose truth is of the asked slices alone
    mask: Bool[np.ndarray, "N H W"]
    volume: AskedVolume
    probability: Float[np.ndarray, "N S S"]  # at the network's size


def answers(
    segmenters: Sequence[Segmenter],
    trial: Within,
    *,
    seed: int = 0,
    clicks: int = 0,
    measured: Callable[..., Measures] = measure,
) -> Iterator[Answer]:
    """Score every segmenter on every volume of a trial.

    With `clicks` each slice is told as many places on its own truth. SSM-SAM's released code draws
    them on the truths of a chunk together, and tells every slice the same: it knows a little less.
    """
    for load in trial.queries:
        volume = load()
        query = volume.query
        asked = sorted(n for chunk in volume.asked for n in chunk)
        left_out = np.setdiff1d(np.arange(len(query.target)), asked)
        target = query.target.copy()
        target[left_out] = False
        query = query._replace(target=target)
        for segmenter in segmenters:
            probability = segmented_chunks(segmenter, volume, trial, seed, clicks)
            mask = query.finish(probability)
            mask[left_out] = False
            found = measured(mask[asked], query.target[asked], spacing=query.spacing)
            score = score_of(segmenter.name, trial.organ, 0, volume.supports, query, found)
            yield Answer(score._replace(**FLAT), query, mask, volume, probability)


def score_within(
    segmenters: Sequence[Segmenter], trial: Within, **how
) -> Iterator[tuple[Score, Query, Bool[np.ndarray, "N H W"]]]:
    """Yield each score with its volume and its mask; both are empty where nothing was asked."""
    for answer in answers(segmenters, trial, **how):
        yield answer[:3]


def segmented_chunks(
    segmenter: Segmenter, volume: AskedVolume, trial: Within, seed: int, clicks: int
) -> Float[np.ndarray, "N S S"]:
    """Adapt to each chunk, AT_ONCE in a call, and segment what it asks; 0 elsewhere."""
    query, image = volume.query, volume.query.image
    found = np.zeros(image.shape[:3], np.float32)
    width = max(len(asked) for asked in volume.asked)
    keys = support_set_keys(len(volume.asked), seed, f"{trial.dataset}/{trial.organ}/{query.case}")
    rng = np.random.default_rng(keys.ravel())
    for start in range(0, len(volume.asked), AT_ONCE):
        block = np.minimum(np.arange(start, start + AT_ONCE), len(volume.asked) - 1)
        fitted = segmenter.fit(together([volume.supports[n] for n in block]), keys[block])
        index = np.array([filled(volume.asked[n], width) for n in block])
        prompt = clicked(volume.truth[index], clicks, rng) if clicks else ()
        probability = np.asarray(segmenter.segment_each(fitted, image[index], prompt))
        for number, chunk in enumerate(volume.asked[start : start + AT_ONCE]):
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


def budget(trials: Sequence[Within]) -> str:
    """Say how much of what is segmented somebody labels first."""
    told = ", ".join(
        f"{trial.organ} {trial.labelled} of {trial.shown} ({trial.asked} asked)" for trial in trials
    )
    return f"slices labelled, of those that show the organ: {told}"


def describe(pool: Pool, trials: Sequence[Within], request: Request, distances: str) -> Description:
    """Say what is asked, with the labels that it costs and the truth that it uses."""
    return Description(
        f"within volumes, by the middle slice of every {request.conditions.neighbors} neighbors; "
        f"{budget(trials)}; the oracle knows which slices show the organ",
        "3-D, original resolution, without distances",
    )


def with_clicks(protocol: Protocol, clicks: int) -> Protocol:
    """Tell each slice so many places on its own truth."""

    def describe(*asked) -> Description:
        told = protocol.describe(*asked)
        return told._replace(asked=f"{told.asked}; CLICKS ON THE TRUTH, {clicks} a slice")

    score = partial(protocol.score, clicks=clicks)
    return protocol._replace(score=score, describe=describe)


FIXED = ("shots", "support_patients", "support_sets", "upper_bound", "largest_component")
ABOUT = (
    "as SSM-SAM's authors ask: of so many neighbors that show the organ the middle one is "
    "labelled and adapted to, the others are segmented and scored; somebody then labels a part of "
    "every volume, and the report, in RUN/within, says how much"
)
PROTOCOL = Protocol("within-volume", ABOUT, FIXED, trials, score_within, describe, folder="within")
