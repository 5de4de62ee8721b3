"""How far each point of a surface is from another surface, in mm."""

import math
from typing import NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt
from scipy.spatial import cKDTree

from jaxmeta.metrics.surfaces import Spacing, Surface

# A distance transform takes about as long for this many voxels as a k-d tree for one near point.
VOXELS_A_POINT = 10


class Distances(NamedTuple):
    """From each point of the prediction's surface to the truth's, and back; with their weights."""

    to_target: Float[np.ndarray, " P"]
    to_predicted: Float[np.ndarray, " T"]
    predicted: Float[np.ndarray, " P"]  # weights
    target: Float[np.ndarray, " T"]


def between(
    predicted: Surface, target: Surface, spacing: Spacing, *, within: float | int = math.inf
) -> Distances:
    """Measure two surfaces against each other, in both directions; neither may be empty.

    Distances above `within` mm need not be known and may be infinite.
    """
    return Distances(
        nearest(predicted, target, spacing, within),
        nearest(target, predicted, spacing, within),
        predicted.weights,
        target.weights,
    )


def nearest(
    of: Surface, to: Surface, spacing: Spacing, within: float | int = math.inf
) -> Float[np.ndarray, " P"]:
    """Say how far each point of one surface is from the nearest of another.

    By SciPy's distance transform where the surfaces fill enough of the box around both, otherwise
    by a k-d tree of points, which a far false positive does not slow down. The tree's cells are not
    shrunk to their points: from the middle of a ball, where all points of its surface are about as
    far, a search among shrunken ones takes ten times longer.
    """
    both = np.concatenate([of.points, to.points])
    low, high = both.min(0), both.max(0) + 1
    if np.prod(high - low) > VOXELS_A_POINT * len(both):
        tree = cKDTree(to.points * spacing, leafsize=64, compact_nodes=False, balanced_tree=False)
        bound = np.nextafter(within, math.inf)  # which itself is left out
        return tree.query(of.points * spacing, distance_upper_bound=bound, workers=-1)[0]
    bare = np.ones(high - low, bool)
    bare[tuple((to.points - low).T)] = False
    return distance_transform_edt(bare, sampling=spacing)[tuple((of.points - low).T)]
