"""Scores by the protocol of one-shot papers: each chunk of a query by its own support slice.

`tasks/protocols.py` says what the protocol is. The same networks are scored twice: with the oracle
that papers use, who knows between which slices the query's organ lies, and on the whole volume,
where a slice follows the support slice nearest in relative height.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Bool, Float

from jaxmeta.evaluation.segmenter import Case, Row, case_of, segmented, together
from jaxmeta.evaluation.trial import Query, Support, Trial, places
from jaxmeta.metrics import Measures, measure
from jaxmeta.splits.alpnet import chunks_of

KNOWN = ", z-range known"  # added to the name of a row that an oracle helped


def score_by_chunks(
    rows: Sequence[Row],
    trial: Trial,
    *,
    seed: int = 0,
    chunk: int = 16,
    measured: Callable[..., Measures] = measure,
) -> Iterator[tuple[Case, Query, Bool[np.ndarray, "N H W"]]]:
    """Fit every row to each support slice, then score every query volume without and with the
    oracle.

    Where the query has nothing of the organ no oracle can say where it is: that score is left out.
    Yields each case with its volume and its mask.
    """
    supports = together(trial.supports)
    for row, query, probability in segmented(rows, trial, seed=seed, chunk=chunk):
        scored = {"": by_height(probability, supports)}
        if query.target.any():
            scored[KNOWN] = by_chunk(probability, query)
        for suffix, seen in scored.items():
            mask = query.finish(seen)
            found = measured(mask, query.target, spacing=query.spacing)
            name = row.name + suffix
            yield case_of(name, trial.organ, 0, trial.supports, query, found), query, mask


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
