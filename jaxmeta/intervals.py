"""Means with bootstrap intervals for scores that are crossed: patient x support x seed.

Scores of one patient under several supports, or of several patients under one support, are not
independent. So whole units are resampled, each level on its own, and a record's weight is the
product of how often its units were drawn (the pigeonhole bootstrap: A. Owen, 2007, "The pigeonhole
bootstrap", Annals of Applied Statistics, arXiv:0712.1111):

    w_b[i] = prod_level  multiplicity_b[level, unit of record i]
    mean_b = mean over groups g of  ( sum_{i in g} w_b[i] x[i] / sum_{i in g} w_b[i] )

Groups (organs) weigh the same however many patients they have. Units are exchanged inside their
stratum only (patients inside a data set, supports inside an organ), so that no resample is without
an organ that one data set alone provides. Percentiles 2.5 and 97.5 of mean_b are the 95 % interval.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

BLOCK = 4_000_000  # weights held at once, so that any number of cases fits in memory


class Level(NamedTuple):
    """One thing that is resampled: every record's unit, and the stratum in which it is exchanged."""

    unit: Sequence
    stratum: Sequence


class Interval(NamedTuple):
    """A mean, its interval, and how many records it is made of (NaN records are left out).

    `p` is how likely a mean as far from 0 is where there is no difference: twice the smaller share of
    resampled means on either side of 0, at least one in their number.
    """

    mean: float
    low: float
    high: float
    records: int
    p: float = float("nan")


class Means(NamedTuple):
    """The mean of a measure over all cases that have it, and over those in which both masks have voxels."""

    all: float
    scored: float


def interval(
    values: Float[np.ndarray, " R"],
    groups: Sequence,
    levels: Sequence[Level],
    *,
    samples: int = 2000,
    coverage: float = 0.95,
    seed: int = 0,
) -> Interval:
    """Average records inside groups, then groups; resample all levels for the interval.

    A paired comparison is the interval of the differences: `interval(a - b, ...)`.
    """
    known = np.flatnonzero(np.isfinite(values))
    if not known.size:
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    values = values[known]
    group = numbered([groups[i] for i in known])
    # Units are drawn before NaN records are dropped: a patient without a number is still a patient.
    rng = np.random.default_rng(seed)
    drawn = [multiplicities(level, samples, rng) for level in levels]
    means = np.empty(samples)
    block = max(1, BLOCK // known.size)
    for start in range(0, samples, block):
        some = slice(start, start + block)
        weights = np.ones((len(means[some]), known.size))
        for counts, units in drawn:
            weights *= counts[some][:, units[known]]
        means[some] = mean_of_groups(values, group, weights)
    tail = 50 * (1 - coverage)
    low, high = np.nanpercentile(means, [tail, 100 - tail])
    (mean,) = mean_of_groups(values, group, np.ones((1, known.size)))
    side = min(np.count_nonzero(means <= 0), np.count_nonzero(means >= 0))
    p = min(1.0, 2 * max(side, 0.5) / samples)
    return Interval(float(mean), float(low), float(high), int(known.size), p)


def holm(chances: Sequence[float]) -> list[float]:
    """Adjust the p of several comparisons so that all together are wrong no more often (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none falls below one before it.
    A comparison without a p (NaN) has none after it, and does not count.
    """
    order = [at for at in np.argsort(chances) if not np.isnan(chances[at])]
    adjusted, highest = np.full(len(chances), np.nan), 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * chances[at]))
        adjusted[at] = highest
    return adjusted.tolist()


def multiplicities(
    level: Level, samples: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "B U"], Int[np.ndarray, " R"]]:
    """Draw each stratum's units with replacement, as many as it has: counts, and each record's unit."""
    strata = numbered(level.stratum)
    units = numbered(list(zip(level.stratum, level.unit, strict=True)))
    counts = np.zeros((samples, units.max() + 1), np.int64)
    for stratum in range(strata.max() + 1):
        members = np.unique(units[strata == stratum])
        chances = np.full(len(members), 1 / len(members))
        counts[:, members] = rng.multinomial(len(members), chances, size=samples)
    return counts, units


def mean_of_groups(
    values: Float[np.ndarray, " R"], group: Int[np.ndarray, " R"], weights: Float[np.ndarray, "B R"]
) -> Float[np.ndarray, " B"]:
    """Weighted mean inside each group, then the plain mean over groups that have any weight."""
    member = group[:, None] == np.arange(group.max() + 1)
    total = weights @ member
    some = total > 0
    means = np.where(some, weights @ (member * values[:, None]) / np.where(some, total, 1), 0)
    present = some.sum(axis=1)
    return np.where(present > 0, means.sum(axis=1) / np.maximum(present, 1), np.nan)


def numbered(labels: Sequence) -> Int[np.ndarray, " R"]:
    """Number labels 0, 1, ... in the order of their first appearance, so that results are stable."""
    order = {}
    return np.array([order.setdefault(label, len(order)) for label in labels], np.int64)
