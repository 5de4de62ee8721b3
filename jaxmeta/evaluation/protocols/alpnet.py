"""The protocol of SSL-ALPNet (Ouyang et al. 2020, arXiv 2007.09886): a support slice for each chunk
of a query, and the scans of a fold.

`jaxmeta/splits/alpnet.py` says who trains, gives and is tested, and how a descendant ("legacy")
differs; a run is tested by the variant that it was trained by. The same networks are scored twice:
with the oracle that papers use, who knows between which slices the query's organ lies, and on the
whole volume, where a slice follows the support slice nearest in relative height.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from jaxtyping import Bool, Float

from jaxmeta.data.shards.shards import Shards
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.protocol import Description, Protocol, Request
from jaxmeta.evaluation.scoring import Score, score_of, segmented_trial
from jaxmeta.evaluation.segmenter import Segmenter, together
from jaxmeta.evaluation.trial import Query, Support, Trial, places, support_of
from jaxmeta.evaluation.trial import query as whole_volume
from jaxmeta.metrics import Measures, measure
from jaxmeta.runs.protocol import stated
from jaxmeta.splits.alpnet import AlpnetFold, chunks_of, members, slices_at
from jaxmeta.splits.pool import Pool

KNOWN = ", z-range known"  # added to the name of a row that an oracle helped
ORACLE = "an oracle names the slices between which each query's organ lies, and cuts its chunks"


def literature(request: Request, shards: Shards) -> AlpnetFold:
    """Make the protocol of the literature that a run was trained by."""
    made = request.literature(shards)
    if made is None:
        raise BadInput(
            "`protocol=alpnet`: a run is trained by it (`jaxmeta train` `protocol=alpnet`)"
        )
    return made


def trials(pool: Pool, request: Request) -> tuple[Trial, ...]:
    """Make a trial of every tested organ of the pool: one support a chunk, of one slice of the
    support patient.

    Last come volumes whose labels show none of the organ, which only a score without oracle asks.

    Raises BadInput where the fold's support patient or all of its patients lack the organ, and of a
    run that was not trained by the protocol.
    """
    protocol = literature(request, pool.shards)
    queries, support_patient = members(protocol)
    made = []
    for entry in pool.entries:
        if support_patient not in entry.patients:
            raise BadInput(
                f"fold {protocol.fold}: {support_patient}, the support patient, has no "
                f"{entry.organ}; "
                "leave the organ out, or take another fold"
            )
        having = [name for name in queries if name in entry.patients]
        if not having:
            raise BadInput(f"fold {protocol.fold} has no case of {entry.organ}; take another fold")
        volume, slices = entry.patients[support_patient][0]
        chosen = [(volume, n) for n in slices_at(slices, protocol.positions)]
        supports = [
            support_of(pool.shards, entry.organ, [at], (support_patient,), **request.read)
            for at in chosen
        ]
        kept = request.conditions.largest_component
        read = partial(whole_volume, pool.shards, largest_component=kept, **request.read)
        asked = tuple(
            partial(read, number, entry.organ)
            for name in having
            for number, _ in entry.patients[name]
        )
        bare = [n for n in entry.bare if pool.shards.volumes[n].patient in queries]
        asked += tuple(partial(read, number, entry.organ) for number in bare)
        made.append(Trial(entry.organ, entry.dataset, entry, tuple(supports), asked))
    return tuple(made)


def score_by_chunks(
    segmenters: Sequence[Segmenter],
    trial: Trial,
    *,
    seed: int = 0,
    chunk: int = 16,
    measured: Callable[..., Measures] = measure,
) -> Iterator[tuple[Score, Query, Bool[np.ndarray, "N H W"]]]:
    """Fit every segmenter to each support slice, then score every query volume without and with the
    oracle.

    Where the query has nothing of the organ no oracle can say where it is: that score is left out.
    Yields each case with its volume and its mask.
    """
    supports = together(trial.supports)
    for segmenter, query, probability in segmented_trial(segmenters, trial, seed=seed, chunk=chunk):
        scored = {"": by_height(probability, supports)}
        if query.target.any():
            scored[KNOWN] = by_chunk(probability, query)
        for suffix, seen in scored.items():
            mask = query.finish(seen)
            found = measured(mask, query.target, spacing=query.spacing)
            name = segmenter.name + suffix
            yield score_of(name, trial.organ, 0, trial.supports, query, found), query, mask


def by_height(
    probability: Float[np.ndarray, "T N H W"], supports: Support
) -> Float[np.ndarray, "N H W"]:
    """Take each slice from the network of the support slice nearest in relative height."""
    count = probability.shape[1]
    nearest = np.abs(places(count)[:, None] - supports.place[:, 0]).argmin(1)
    return probability[nearest, np.arange(count)]


def by_chunk(probability: Float[np.ndarray, "T N H W"], query: Query) -> Float[np.ndarray, "N H W"]:
    """Take each slice between the truth's first and last from its chunk's network; 0 elsewhere."""
    chosen = np.zeros_like(probability[0])
    for number, of in chunks_of(np.flatnonzero(query.target.any((1, 2))), len(probability)).items():
        chosen[number] = probability[of, number]
    return chosen


def describe(pool: Pool, trials: Sequence[Trial], request: Request, distances: str) -> Description:
    """Say which fold and setting it is, and what that left to train on."""
    told = stated(literature(request, pool.shards), pool.shards)
    told = told.removeprefix("protocol alpnet, ").removeprefix("protocol ")
    return Description(told, f"3-D, original resolution; {distances}")


FIXED = ("shots", "support_patients", "support_sets", "organs", "upper_bound")
ABOUT = "one fold of SSL-ALPNet's five, of a run that was trained by it"
PROTOCOL = Protocol("alpnet", ABOUT, FIXED, trials, score_by_chunks, describe)
