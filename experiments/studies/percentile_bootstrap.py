"""The percentile bootstrap that intervals were made by before, kept to be compared with.

Whole units of every level are drawn with replacement, and a record's weight is the product of how
often its units were drawn (the pigeonhole bootstrap: A. Owen, 2007, arXiv:0712.1111). Percentiles
2.5 and 97.5 of the means are the bounds: with n units of a level they are too narrow by sqrt((n -
1) / n) and by the normal's quantile where t's is due, which the null simulation shows.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from jaxmeta.evaluation.variance import Level, numbered


def bounds(
    values: Float[np.ndarray, "R B"],
    groups: Sequence,
    levels: Sequence[Level],
    *,
    samples: int = 2000,
    seed: int = 0,
) -> tuple[Float[np.ndarray, " B"], Float[np.ndarray, " B"], Float[np.ndarray, " B"]]:
    """Bound the mean over groups of each column, and say how likely it is where there is none: low,
    high, p.

    All columns are resampled alike. p is twice the smaller share of means on either side of 0.
    """
    rng = np.random.default_rng(seed)
    weights = np.ones((samples, len(values)))
    for level in levels:
        counts, units = multiplicities(level, samples, rng)
        weights *= counts[:, units]
    group = numbered(groups)
    means, present = np.zeros((samples, values.shape[1])), np.zeros((samples, 1))
    for of in range(group.max() + 1):
        own = weights[:, group == of]
        total = own.sum(axis=1, keepdims=True)
        means += own @ values[group == of] / np.where(total > 0, total, 1)
        present += total > 0
    means = np.where(present > 0, means / np.maximum(present, 1), np.nan)
    low, high = np.nanpercentile(means, [2.5, 97.5], axis=0)
    side = np.minimum((means <= 0).sum(axis=0), (means >= 0).sum(axis=0))
    return low, high, np.minimum(1.0, 2 * np.maximum(side, 0.5) / samples)


def multiplicities(
    level: Level, samples: int, rng: np.random.Generator
) -> tuple[Int[np.ndarray, "B U"], Int[np.ndarray, " R"]]:
    """Draw each stratum's units with replacement, as many as it has: counts, and each record's
    unit."""
    strata = numbered(level.stratum)
    units = numbered(list(zip(level.stratum, level.unit, strict=True)))
    counts = np.zeros((samples, units.max() + 1), np.int64)
    for stratum in range(strata.max() + 1):
        members = np.unique(units[strata == stratum])
        chances = np.full(len(members), 1 / len(members))
        counts[:, members] = rng.multinomial(len(members), chances, size=samples)
    return counts, units
