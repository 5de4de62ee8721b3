"""Measures of the distances between two surfaces, each in the variants that are in use."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from jaxmeta.metrics.distances import Distances

Percentile = Callable[[Float[np.ndarray, " P"], Float[np.ndarray, " P"], float], float]


def interpolated(values: Float[np.ndarray, " P"], weights, percentile: float | int) -> float:
    """Take the percentile of points, all alike, between the two nearest of them."""
    return float(np.percentile(values, percentile))


def by_area(values: Float[np.ndarray, " P"], weights, percentile: float | int) -> float:
    """Take the least distance within which this share of the surface lies."""
    order = np.argsort(values)
    share = np.cumsum(weights[order]) / weights.sum()
    at = np.searchsorted(share, percentile / 100)
    return float(values[order[min(at, len(order) - 1)]])


def hausdorff(
    found: Distances,
    percentile: float | int,
    *,
    pooled: bool = False,
    of: Percentile = interpolated,
) -> float:
    """Take a percentile of the distances of each direction and the larger of both, in mm.

    `pooled` takes it of the distances of both directions together instead. A false piece of 5 % of
    one surface changes the first and not the second. Percentile 100 is the Hausdorff distance.
    """
    if pooled:
        return of(np.concatenate(found[:2]), np.concatenate(found[2:]), percentile)
    return max(
        of(found.to_target, found.predicted, percentile),
        of(found.to_predicted, found.target, percentile),
    )


def asd(found: Distances) -> tuple[float, float]:
    """Average the distances from prediction to truth, and from truth to prediction, in mm."""
    return (
        float(np.average(found.to_target, weights=found.predicted)),
        float(np.average(found.to_predicted, weights=found.target)),
    )


def assd(found: Distances) -> float:
    """Average the distances of both directions together, in mm."""
    values, weights = np.concatenate(found[:2]), np.concatenate(found[2:])
    return float(np.average(values, weights=weights))


def surface_dice(found: Distances, tolerance: float | int) -> float:
    """Give the share of both surfaces that lies within `tolerance` mm of the other (NSD)."""
    values, weights = np.concatenate(found[:2]), np.concatenate(found[2:])
    return float(weights[values <= tolerance].sum() / weights.sum())
