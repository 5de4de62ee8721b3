"""From a support set to masks of whole volumes, and to the scores of every case.

A `Row` is one line of the final table: anything that can be fitted to support slices and then
segments slices. All T support sets of an organ are fitted in one call and spread over devices
like tasks in training; every query volume passes once through all T fitted networks. Volumes are
cut into chunks of one size, the last one padded, so each function compiles once however long a
volume is. The learner's state is an argument of what is compiled, never a constant in it.

Read `Row`, `whole_volume`, then `score`; what is asked is in `tasks/trial.py`.
"""

import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Bool, Float, PyTree

from jaxmeta.evaluation.trial import Query, Support, Trial, places
from jaxmeta.metrics import Measures, measure
from jaxmeta.numerics import typed_key
from jaxmeta.parallel.devices import jit, replicate, task_mesh
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.tasks.task import Task

NAN = float("nan")


class Row(NamedTuple):
    """One line of the table: fit(supports, keys) -> fitted; segment(fitted, image, place) -> p.

    `fit` gets T supports as one `Support` of stacked arrays and T raw keys [T, 2]; `segment` gives
    probabilities [T, N, H, W] of a chunk of slices. Of T chunks of slices [T, N, H, W, C], one for
    each support, `segment_each` gives those; `prompt` may tell each slice something besides.
    """

    name: str
    fit: Callable[[Support, np.ndarray], Any]
    segment: Callable[[Any, np.ndarray, np.ndarray], Any]
    segment_each: Callable[..., Any] | None = None  # where nobody asks within volumes


class Case(NamedTuple):
    """The score of one query volume under one support: a line of `cases.csv`."""

    row: str
    organ: str
    support_set: int
    support_patients: str
    support_slices: str
    patient: str
    case: str
    dice: float
    iou: float
    outcome: str
    shots: int = 0
    run: str = ""
    cohort: str = ""  # tells apart patients of the same name in other data
    precision: float = NAN
    recall: float = NAN
    volume_error: float = NAN
    hd95: float = NAN  # this and the next three in mm
    assd: float = NAN
    asd: float = NAN
    asd_back: float = NAN
    nsd: float = NAN


def networks(predictor: Callable, *, support_sets: int, chunk: int = 1) -> Callable[..., Row]:
    """Make (name, state, begin=None) -> Row of a `predictor`; `draws` is T, the supports of one
    call.

    Rows that differ in their state alone (other weights, another rate) share what is compiled. With
    `begin`, another row, each support comes to `adapt` as (support, what `begin` makes of it). A
    device does `chunk` supports side by side.
    """
    mesh = task_mesh(support_sets)
    task_ids = np.zeros((support_sets, 2), np.int32)

    @jit
    def adapt(state, tasks):
        def one(state, task):
            return (), predictor(state).adapt(task.support, typed_key(task.key))

        return over_tasks(one, mesh=mesh, chunk=chunk)(state, tasks)[1]

    @jit
    def probability(shared, phis):
        def one(shared, task):
            state, image = shared
            return (), jax.nn.sigmoid(predictor(state).predict(task.support, image)[..., 0])

        return over_tasks(one, mesh=mesh, chunk=chunk)(shared, phis)[1]

    @jit
    def probability_each(state, tasks):
        def one(state, task):
            phi, image, prompt = task.support
            return (), jax.nn.sigmoid(predictor(state).predict(phi, image, prompt)[..., 0])

        return over_tasks(one, mesh=mesh, chunk=chunk)(state, tasks)[1]

    def row(name: str, state: PyTree, begin: Row | None = None) -> Row:
        state = replicate(state, mesh)

        def fit(support, keys):
            given = support.examples
            if begin:  # whose own keys are used up by it
                given, keys = (given, begin.fit(support, keys)), keys ^ ONWARD
            return adapt(state, Task(given, (), keys, task_ids))

        def segment(phi, image, place):
            return probability((state, image), Task(phi, (), (), task_ids))

        def segment_each(phi, image, prompt=()):
            return probability_each(state, Task((phi, image, prompt), (), (), task_ids))

        return Row(name, fit, segment, segment_each)

    return row


def nearest_support_mask(name: str) -> Row:
    """The row that learns nothing: every slice gets the support mask nearest in relative height.

    The field of view is taken for the same stretch of body in every patient. Slices that lie
    further outside of the labelled stretch than its slices lie apart (on average) stay empty; one
    slice alone tells nothing of the extent and is copied everywhere. No oracle says where the
    structure ends.
    """

    def fit(support, keys):
        return support.examples.mask, support.place

    def segment(fitted, image, place):
        masks, known = fitted
        nearest = np.abs(place[None, :, None] - known[:, None, :]).argmin(-1)
        chosen = np.take_along_axis(masks, nearest[..., None, None], axis=1)
        low, high = reach(known)
        inside = (place[None] >= low[:, None]) & (place[None] <= high[:, None])
        return chosen * inside[..., None, None].astype(np.float32)

    def segment_each(fitted, image, prompt=()):
        masks, _ = fitted
        return np.repeat(masks[:, :1], image.shape[1], axis=1).astype(np.float32)

    return Row(name, fit, segment, segment_each)


def reach(known: Float[np.ndarray, "T K"]) -> tuple[np.ndarray, np.ndarray]:
    """Bound the stretch that labelled slices stand for: one mean gap more on both sides."""
    low, high, gaps = known.min(1), known.max(1), known.shape[1] - 1
    gap = (high - low) / gaps if gaps else np.inf
    return low - gap, high + gap


def together(supports: Sequence[Support]) -> Support:
    """Stack the arrays of T supports of the same size; the names stay a tuple of tuples."""
    return Support(
        jax.tree.map(lambda *a: np.stack(a), *[s.examples for s in supports]),
        np.stack([s.place for s in supports]),
        tuple(s.patients for s in supports),
        tuple(s.slices for s in supports),
    )


ONWARD = np.uint32(0x9E3779B9)  # makes another key of a raw one


def draw_keys(support_sets: int, seed: int, of: str = "") -> np.ndarray:
    """Make one raw key a draw, other ones for every organ: rows begin anew with each support."""
    organ = zlib.crc32(of.encode())
    streams = [
        np.random.default_rng((seed, organ, support_set, 1)) for support_set in range(support_sets)
    ]
    return np.stack([stream.integers(2**32, size=2, dtype=np.uint32) for stream in streams])


def whole_volume(
    row: Row, fitted: Any, image: Float[np.ndarray, "N H W C"], *, chunk: int = 16
) -> Float[np.ndarray, "T N H W"]:
    """Segment all slices of a volume, `chunk` at a time; the last chunk repeats its last slice."""
    place = places(len(image))
    parts = []
    for start in range(0, len(image), chunk):
        index = np.minimum(np.arange(start, start + chunk), len(image) - 1)
        parts.append(row.segment(fitted, image[index], place[index]))
    return np.concatenate([np.asarray(part) for part in parts], axis=1)[:, : len(image)]


def score(
    rows: Sequence[Row],
    trial: Trial,
    *,
    seed: int = 0,
    chunk: int = 16,
    measured: Callable[..., Measures] = measure,
) -> Iterator[tuple[Case, Query, Bool[np.ndarray, "N H W"]]]:
    """Fit every row to every support of a trial, then score every query volume in 3-D.

    `measured(mask, truth, spacing=)` says by which convention. Yields each case with its volume and
    its mask.
    """
    for row, query, probability in segmented(rows, trial, seed=seed, chunk=chunk):
        for support_set, support in enumerate(trial.supports):
            asked = trial.answers.get(query.patient, support_set) == support_set
            if query.patient in support.patients or not asked:
                continue
            mask = query.finish(probability[support_set])
            found = measured(mask, query.target, spacing=query.spacing)
            yield case_of(row.name, trial.organ, support_set, [support], query, found), query, mask


def segmented(
    rows: Sequence[Row], trial: Trial, *, seed: int, chunk: int
) -> Iterator[tuple[Row, Query, Float[np.ndarray, "T N H W"]]]:
    """Fit every row to every support of a trial, then segment every query volume by all of them.

    One volume is in memory at a time.
    """
    stacked = together(trial.supports)
    keys = draw_keys(len(trial.supports), seed, f"{trial.dataset}/{trial.organ}")
    fitted = [row.fit(stacked, keys) for row in rows]
    for load in trial.queries:
        query = load()
        for row, parameters in zip(rows, fitted, strict=True):
            yield row, query, whole_volume(row, parameters, query.image, chunk=chunk)


def case_of(
    row: str,
    organ: str,
    support_set: int,
    supports: Sequence[Support],
    query: Query,
    found: Measures,
) -> Case:
    """Name a score: who answered, which question, from whose slices."""
    return Case(
        row=row,
        organ=organ,
        support_set=support_set,
        support_patients=" ".join(dict.fromkeys(p for s in supports for p in s.patients)),
        support_slices=" ".join(at for s in supports for at in s.slices),
        patient=query.patient,
        case=query.case,
        **found._asdict(),
    )
