"""How far each point of a surface is from another surface, in mm."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from jaxmeta.metrics.surfaces import Spacing, Surface

# A distance transform takes about as long for this many voxels as a k-d tree for one point.
VOXELS_A_POINT = 40


class Distances(NamedTuple):
    """From each point of the prediction's surface to the truth's, and back; with their weights."""

    to_target: Float[np.ndarray, " P"]
    to_predicted: Float[np.ndarray, " T"]
    predicted: Float[np.ndarray, " P"]  # weights
    target: Float[np.ndarray, " T"]


def between(predicted: Surface, target: Surface, spacing: Spacing) -> Distances:
    """Measure two surfaces against each other, in both directions; neither may be empty."""
    return Distances(
        nearest(predicted, target, spacing),
        nearest(target, predicted, spacing),
        predicted.weights,
        target.weights,
    )


def nearest(of: Surface, to: Surface, spacing: Spacing) -> Float[np.ndarray, " P"]:
    """Say how far each point of one surface is from the nearest of another.

    By a k-d tree of points, which a far false positive does not slow down; by SciPy's distance
    transform where the surfaces fill enough of the box around both.
    """
    both = np.concatenate([of.points, to.points])
    low, high = both.min(0), both.max(0) + 1
    if np.prod(high - low) > VOXELS_A_POINT * len(both):
        return cKDTree(to.points * spacing).query(of.points * spacing, workers=-1)[0]
    bare = np.ones(high - low, bool)
    bare[tuple((to.points - low).T)] = False
    return distance_transform_edt(bare, sampling=spacing)[tuple((of.points - low).T)]
