"""How much of a mean's variance each level brings: patients, supports, runs.

Each level's share of the variance is estimated from whole units, by leaving out one at a time (the
jackknife of stratified clusters: K. Wolter, "Introduction to Variance Estimation", 2007, 4.5;
several ways of clustering at once: J. MacKinnon, M. Nielsen and M. Webb, 2024, arXiv:2406.08880).
With theta the mean over groups of each group's mean, and the others of its stratum h standing in
for a unit u that is left out,

    d_ug    = what group g adds to theta without u - theta,  times sqrt((n_g - 1) / n_g),
    V_level = sum_h sum_{u in h} (sum_g d_ug)^2,

where n_g units of the stratum have group g. Degrees of freedom are F. Satterthwaite's (1946,
Biometrics Bulletin 2(6)), of the parts P_hg = sum_u d_ug^2 with df_g each,

    df_level = (sum P_i)^2 / sum_ij P_i P_j o_ij / sqrt(df_i df_j),

o_ij of two groups being 1 where they have the same units (organs of the same patients have their
degrees once) and 0 where they have none in common. df_g is one less than the units are worth: 1 /
sum w^2 of their shares (L. Kish, 1965, "Survey Sampling"), n_g where all have as many records.
Variances of few units are themselves uncertain, so only whole degrees above the least df_g count.

Groups (organs) weigh the same however many patients they have, and are those of the question:
another organ is another question. Units are compared inside their stratum (patients inside a data
set, and likewise those who give supports).
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.linalg import block_diag
from scipy.sparse import csr_array

ROUNDING = 1e-12  # a deviation by less, relative to the largest value, is none


class Level(NamedTuple):
    """One thing that is drawn at random: every record's unit, and the stratum in which it is
    drawn."""

    unit: Sequence
    stratum: Sequence
    name: str = ""


class Estimate(NamedTuple):
    """Means of B columns of records, and the variance of each that each level brings."""

    mean: Float[np.ndarray, " B"]
    variance: Float[np.ndarray, "L B"]
    freedom: Float[np.ndarray, "L B"]
    over: tuple[str, ...]
    kept: tuple[int, ...]  # which of the levels asked for these are


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
        shared.append(shared_units(size[own][:, here] > 0))
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


def shared_units(has: Bool[np.ndarray, "U G"]) -> Float[np.ndarray, "G G"]:
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
