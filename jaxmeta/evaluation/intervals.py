"""Means with t intervals for scores that are crossed and nested: patient x support x run.

Scores of one patient under several supports, or of several patients under one support, are not
independent. So each level's share of the variance is estimated from whole units, by leaving out one
at a time (the jackknife of stratified clusters: K. Wolter, "Introduction to Variance Estimation",
2007, 4.5; several ways of clustering at once: J. MacKinnon, M. Nielsen and M. Webb, 2024,
arXiv:2406.08880). With theta the mean over groups of each group's mean, and the others of its
stratum h standing in for a unit u that is left out,

    d_ug    = what group g adds to theta without u - theta,  times sqrt((n_g - 1) / n_g),
    V_level = sum_h sum_{u in h} (sum_g d_ug)^2,

where n_g units of the stratum have group g. Degrees of freedom are F. Satterthwaite's (1946,
Biometrics Bulletin 2(6)), of the parts P_hg = sum_u d_ug^2 with df_g each,

    df_level = (sum P_i)^2 / sum_ij P_i P_j o_ij / sqrt(df_i df_j),

o_ij of two groups being 1 where they have the same units (organs of the same patients have their
degrees once) and 0 where they have none in common. df_g is one less than the units are worth: 1 /
sum w^2 of their shares (L. Kish, 1965, "Survey Sampling"), n_g where all have as many records.
Variances of few units are themselves uncertain, so only whole degrees above the least df_g count.
Levels add up as in K. Banerjee, 1961, Sankhya 23(4), each with its own quantile,

    half width^2 = sum_level  t(df_level)^2  V_level,

which for normal effects holds the truth in at least 95 % whatever the ratio of the variances, where
one quantile for their sum does not. What units of two levels share (a cell of patient x support)
counts in both (in A. Owen, 2007, arXiv:0712.1111, three times), so that the interval is never too
narrow. `docs/statistics.md` has the coverage of all this by simulation.

Groups (organs) weigh the same however many patients they have, and are those of the question:
another organ is another question. Units are compared inside their stratum (patients inside a data
set, and likewise those who give supports). A level of which some group has one unit tells nothing
of its variance and is left out: `Interval.over` does not name it. So is a level of a few units that
are all alike (two cases that were missed), which are no certainty. A level nested in another that
is not left out (patients of a cohort that one run has) varies with it and is counted there alone.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import block_diag
from scipy.sparse import csr_array
from scipy.special import stdtrit

ROUNDING = 1e-12  # a deviation by less, relative to the largest value, is none
LEAST_P = 1e-12
# Units that are all alike (cases that all were missed, say) show a variance of 0, which of a few is
# chance: were each ahead or behind by the toss of a coin, n would all be on one side with 2 / 2^n
# (the sign test), which is more than .05 up to 5. So their variance counts from 6 units on, or 5
# degrees of freedom (rounded up: one that gives is asked about less, and is a unit all the same).
ALIKE = 5


class Level(NamedTuple):
    """One thing that is drawn at random: every record's unit, and the stratum in which it is
    drawn."""

    unit: Sequence
    stratum: Sequence
    name: str = ""


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


class Estimate(NamedTuple):
    """Means of B columns of records, and the variance of each that each level brings."""

    mean: Float[np.ndarray, " B"]
    variance: Float[np.ndarray, "L B"]
    freedom: Float[np.ndarray, "L B"]
    over: tuple[str, ...]
    kept: tuple[int, ...]  # which of the levels asked for these are


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
    alike = ((found.variance == 0) & (np.ceil(found.freedom) < ALIKE)).any(axis=1)
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


def estimate(
    values: Float[np.ndarray, "R B"], groups: Sequence, levels: Sequence[Level]
) -> Estimate:
    """Average each column over groups, and tell how much of its variance each level brings."""
    group = numbered(groups)
    size = np.bincount(group)
    theta = (summed(group, values) / size[:, None]).mean(axis=0)
    units = [numbered(list(zip(level.stratum, level.unit, strict=True))) for level in levels]
    kept = [n for n, unit in enumerate(units) if replicated(unit, group)]
    over = [
        level.name
        for unit, level in zip(units, levels, strict=True)
        if any(nested(unit, units[n]) for n in kept)
    ]
    # Of two levels that part records alike the first is kept.
    kept = [
        n
        for n in kept
        if not any(
            nested(units[n], units[m]) and (m < n or not nested(units[m], units[n]))
            for m in kept
            if m != n
        )
    ]
    parts = [variance(values, group, units[n], numbered(levels[n].stratum)) for n in kept]
    shape = len(parts), values.shape[1]
    variances, freedom = (np.reshape([part[k] for part in parts], shape) for k in (0, 1))
    return Estimate(theta, variances, freedom, tuple(over), tuple(kept))


def variance(
    values: Float[np.ndarray, "R B"],
    group: Int[np.ndarray, " R"],
    unit: Int[np.ndarray, " R"],
    stratum: Int[np.ndarray, " R"],
) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"]]:
    """Give the variance that a level brings to the mean over groups, and its degrees of freedom."""
    units, groups = int(unit.max()) + 1, int(group.max()) + 1
    cell = unit * groups + group
    size = np.bincount(cell, minlength=units * groups).reshape(units, groups)
    total = summed(cell, values, units * groups).reshape(units, groups, -1)
    of = collapsed(unit, stratum, size > 0)
    tiny = ROUNDING * np.abs(values).max(axis=0)
    whole, parts, counts, shared = 0.0, [], [], []
    for each in np.unique(of):
        own = of == each
        off = moved(size, total, own)
        off = np.where(np.abs(off) > tiny, off, 0)
        whole = whole + np.sum(off.sum(axis=1) ** 2, axis=0)
        here = size[own].any(axis=0)
        parts.append(np.sum(off[:, here] ** 2, axis=0))
        counts.append(worth(size[own][:, here]))
        shared.append(overlap(size[own][:, here] > 0))
    parts, least = np.concatenate(parts), min(map(np.min, counts))
    spread = block_diag(*shared) / np.sqrt(np.outer(*[np.concatenate(counts)] * 2))
    squares = np.einsum("gb,gh,hb->b", parts, spread, parts)
    freedom = np.full_like(whole, least)
    np.divide(parts.sum(axis=0) ** 2, squares, out=freedom, where=squares > 0)
    return whole, least + np.floor(np.maximum(freedom - least, 0) + 1e-9)


def moved(
    size: Int[np.ndarray, "U G"], total: Float[np.ndarray, "U G B"], own: Bool[np.ndarray, " U"]
) -> Float[np.ndarray, "H G B"]:
    """Tell how each group moves the mean where one of a stratum's `own` units is left out, as
    deviations.

    The other units of the stratum stand in for it (in a group that no other has, those of all
    strata), so that no stratum weighs less.
    """
    few, weight = size[own].sum(axis=0), size[own] > 0
    count = np.count_nonzero(weight, axis=0)
    rest = np.where(count == 1, size.sum(axis=0), few) - size[own]
    sums = np.where((count == 1)[:, None], total.sum(axis=0), total[own].sum(axis=0)) - total[own]
    without = np.divide(sums, rest[..., None], out=np.zeros_like(sums), where=rest[..., None] > 0)
    mean = total[own].sum(axis=0) / np.maximum(few, 1)[:, None]
    shares = few / size.sum(axis=0) / len(few)
    shares = shares * np.sqrt(np.where(count > 1, (count - 1) / np.maximum(count, 1), 1))
    return np.where(weight[..., None], shares[:, None] * (without - mean), 0)


def worth(size: Int[np.ndarray, "U G"]) -> Float[np.ndarray, " G"]:
    """Give the degrees of freedom of each group: one less than the equal units its unequal ones are
    worth."""
    return np.maximum(1.0, size.sum(axis=0) ** 2 / np.sum(size**2, axis=0) - 1)


def overlap(has: Bool[np.ndarray, "U G"]) -> Float[np.ndarray, "G G"]:
    """Tell how alike the deviations of two groups' units are: 1 where they have the same, 0 where
    none is.

    The trace of the product of both centerings, over the root of that of each: groups of the same
    units have the degrees of one, groups of different ones the sum of theirs.
    """
    both, own = has.T.astype(float) @ has, np.count_nonzero(has, axis=0)
    trace = both - both / own - both / own[:, None] + both**2 / np.outer(own, own)
    root = np.sqrt(np.maximum(own - 1, 1))
    found = trace / np.outer(root, root)
    np.fill_diagonal(found, 1.0)
    return found


def collapsed(
    unit: Int[np.ndarray, " R"], stratum: Int[np.ndarray, " R"], has: Bool[np.ndarray, "U G"]
) -> Int[np.ndarray, " U"]:
    """Give each unit's stratum; a unit alone in its own joins one in which its groups are."""
    of = np.zeros(len(has), np.int64)
    of[unit] = stratum
    for alone in np.flatnonzero(np.bincount(of)[of] == 1):
        near = has[:, has[alone]].any(axis=1)
        near[alone] = False
        if np.count_nonzero(of == of[alone]) == 1 and near.any():
            of[alone] = np.bincount(of[near]).argmax()
    return of


def replicated(unit: Int[np.ndarray, " R"], group: Int[np.ndarray, " R"]) -> bool:
    """Tell whether every group has at least two units."""
    pairs = np.unique(group * (unit.max() + 1) + unit) // (unit.max() + 1)
    return bool((np.bincount(pairs) > 1).all())


def nested(inner: Int[np.ndarray, " R"], outer: Int[np.ndarray, " R"]) -> bool:
    """Tell whether all records of a unit of `inner` are of one unit of `outer`."""
    first = np.zeros(inner.max() + 1, np.int64)
    first[inner] = outer
    return bool((first[inner] == outer).all())


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


def summed(
    at: Int[np.ndarray, " R"], values: Float[np.ndarray, "R B"], places: int | None = None
) -> Float[np.ndarray, "P B"]:
    """Add the records of each place."""
    records = np.arange(len(at))
    shape = (at.max() + 1 if places is None else places, len(at))
    return csr_array((np.ones(len(at)), (at, records)), shape=shape) @ values


def numbered(labels: Sequence) -> Int[np.ndarray, " R"]:
    """Number labels 0, 1, ... in the order of their first appearance, so that results are
    stable."""
    order = {}
    return np.array([order.setdefault(label, len(order)) for label in labels], np.int64)


def number(value: float, *, sign: bool = False) -> str:
    """Write a score with three digits and no leading zero, as tables of the field do."""
    if math.isnan(value):
        return "none"
    text = f"{value:+.3f}" if sign else f"{value:.3f}"
    return text.replace("0.", ".", 1) if abs(value) < 1 else text
