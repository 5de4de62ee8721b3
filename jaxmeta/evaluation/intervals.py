"""Means with t intervals for scores that are crossed and nested: patient x support x run.

Scores of one patient under several supports, or of several patients under one support, are not
independent, so each level has a variance of its own (`variance.py`). Levels add up as in
K. Banerjee, 1961, Sankhya 23(4), each with its own quantile,

    half width^2 = sum_level  t(df_level)^2  V_level,

which for normal effects holds the truth in at least 95 % whatever the ratio of the variances, where
one quantile for their sum does not. What units of two levels share (a cell of patient x support)
counts in both (in A. Owen, 2007, arXiv:0712.1111, three times), so that the interval is never too
narrow. `docs/statistics.md` has the coverage of all this by simulation.

A level of which some group has one unit tells nothing of its variance and is left out:
`Interval.over` does not name it. So is a level of a few units that are all alike (two cases that
were missed), which are no certainty. A level nested in another that is not left out (patients of a
cohort that one run has) varies with it and is counted there alone.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.special import stdtrit

from jaxmeta.evaluation.variance import Estimate, Level, estimate

LEAST_P = 1e-12
# Units that are all alike (cases that all were missed, say) show a variance of 0, which of a few is
# chance: were each ahead or behind by the toss of a coin, n would all be on one side with 2 / 2^n
# (the sign test), which is more than .05 up to 5. So their variance counts from 6 units on, or 5
# degrees of freedom (rounded up: one that gives is asked about less, and is a unit all the same).
FEW_ALIKE = 5


class Interval(NamedTuple):
    """A mean, its interval, and how many records it is made of (NaN records are left out).

    `p` is how likely a mean as far from 0 is where there is no difference: below .05 exactly where
    the 95 % interval is without 0. `over` names the levels whose units the interval is about.
    """

    mean: float
    low: float
    high: float
    records: int
    p: float = float("nan")
    over: tuple[str, ...] = ()


class Means(NamedTuple):
    """The mean of a measure over all cases that have it, and over those in which both masks have
    voxels."""

    all: float
    scored: float


def interval(
    values: Float[np.ndarray, " R"],
    groups: Sequence,
    levels: Sequence[Level],
    *,
    coverage: float = 0.95,
    limits: tuple[float, float] = (-np.inf, np.inf),
) -> Interval:
    """Average records inside groups, then groups; the interval is over the units of all levels.

    A paired comparison is the interval of the differences: `interval(a - b, ...)`. No bound lies
    outside `limits`, between which all means lie. Where no level has two units, or only a few that
    are all alike, there is no interval.
    """
    known = np.flatnonzero(np.isfinite(values))
    if not known.size:
        return Interval(np.nan, np.nan, np.nan, 0)
    own = [
        Level([unit[i] for i in known], [stratum[i] for i in known], name)
        for unit, stratum, name in levels
    ]
    found = estimate(values[known, None], [groups[i] for i in known], own)
    alike = ((found.variance == 0) & (np.ceil(found.freedom) < FEW_ALIKE)).any(axis=1)
    if alike.any():
        silent = {n for n, none in zip(found.kept, alike, strict=True) if none}
        told = [level for n, level in enumerate(levels) if n not in silent]
        return interval(values, groups, told, coverage=coverage, limits=limits)
    (mean,) = found.mean
    if not len(found.variance):
        return Interval(float(mean), np.nan, np.nan, int(known.size))
    (half,), (p,) = half_width(found, 1 - coverage), chance(found)
    low, high = np.clip([mean - half, mean + half], *limits)
    return Interval(float(mean), float(low), float(high), int(known.size), float(p), found.over)


def half_width(found: Estimate, alpha: float | Float[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
    """Give half the width of intervals that miss the truth in `alpha` of all cases."""
    quantile = -stdtrit(found.freedom, np.broadcast_to(alpha, found.mean.shape) / 2)
    return np.sqrt(np.sum(quantile**2 * found.variance, axis=0))


def chance(found: Estimate) -> Float[np.ndarray, " B"]:
    """Find the p of a mean of 0: the alpha at which the interval ends there, by halving.

    It begins at .05, so that it is on the side of it that the interval says. Units that are all
    alike have the p of the sign test, 2 / 2^n.
    """
    size = np.abs(found.mean)
    without = half_width(found, 0.05) < size
    low, high = np.where(without, LEAST_P, 0.05), np.where(without, 0.05, 1.0)
    for _ in range(45):
        middle = np.sqrt(low * high)
        beyond = half_width(found, middle) < size
        low, high = np.where(beyond, low, middle), np.where(beyond, middle, high)
    signs = np.where(size > 0, 0.5 ** np.ceil(found.freedom.min(axis=0)), 1.0)
    return np.where(found.variance.sum(axis=0) > 0, low, signs)


def holm(chances: Sequence[float]) -> list[float]:
    """Adjust the p of several comparisons so that all together are wrong no more often (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1, and so on; none falls below one before
    it. A comparison without a p (NaN) has none after it, and does not count.
    """
    order = [at for at in np.argsort(chances) if not np.isnan(chances[at])]
    adjusted, highest = np.full(len(chances), np.nan), 0.0
    for rank, at in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * chances[at]))
        adjusted[at] = highest
    return adjusted.tolist()


def number(value: float, *, sign: bool = False) -> str:
    """Write a score with three digits and no leading zero, as tables of the field do."""
    if math.isnan(value):
        return "none"
    text = f"{value:+.3f}" if sign else f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text
