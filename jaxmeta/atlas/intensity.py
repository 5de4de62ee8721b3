"""How bright a structure is, and what lies around it: two soft histograms, and their ratio.

Intensities are those of the network's input, normalized by volume, so that a bin means the same in
every scan of a kind. What belongs to neither, far away from the structure, is in no histogram: only
what could be mistaken for it counts.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int32
from scipy.ndimage import gaussian_filter

BINS = 29
LOW, HIGH = -3.0, 4.0  # of normalized intensities; what lies beyond falls into the bins at the ends
FLOOR = 3e-3  # of every bin, before the sum is 1 again: nothing is impossible
SMOOTH = (0.25, 0.5, 0.25)


class Binned(NamedTuple):
    """Pixels by their bins: each is shared between two neighbors, by how near they are."""

    lower: Int32[np.ndarray, "N S S"]
    share: Float[np.ndarray, "N S S"]  # of the upper one


def binned(image: Float[np.ndarray, "N S S"]) -> Binned:
    """Put every pixel into its two bins."""
    place = np.clip((image - LOW) / (HIGH - LOW), 0, 1) * (BINS - 1)
    lower = np.minimum(place.astype(np.int32), BINS - 2)
    return Binned(lower, (place - lower).astype(np.float32))


def histogram(pixels: Binned, weight: Float[np.ndarray, "N S S"]) -> Float[np.ndarray, " B"]:
    """Count weighted pixels, smoothed, to a sum of 1; without any weight all bins are alike."""
    lower = pixels.lower.ravel()
    count = np.bincount(lower, (weight * (1 - pixels.share)).ravel(), BINS)
    count += np.bincount(lower + 1, (weight * pixels.share).ravel(), BINS)
    count = np.pad(count / max(count.sum(), 1e-9), 1, mode="edge")
    count = sum(part * count[n : n + BINS] for n, part in enumerate(SMOOTH)) + FLOOR
    return count / count.sum()


def looked_up(table: Float[np.ndarray, " B"], pixels: Binned) -> Float[np.ndarray, "N S S"]:
    """Give every pixel the value of its bins."""
    table = table.astype(np.float32)
    return table[pixels.lower] * (1 - pixels.share) + table[pixels.lower + 1] * pixels.share


def surroundings(mask: Float[np.ndarray, "N S S"], reach: float) -> Float[np.ndarray, "N S S"]:
    """Weigh what lies around a structure: most beside it, little `reach` pixels away."""
    near = blurred(mask, reach)
    return near / max(near.max(initial=0), 1e-9) * (1 - mask)


def blurred(image: Float[np.ndarray, "N S S"], sd: float) -> Float[np.ndarray, "N S S"]:
    """Blur each slice by a Gaussian of `sd` pixels."""
    return gaussian_filter(image.astype(np.float32), (0, sd, sd), mode="nearest", truncate=3)
