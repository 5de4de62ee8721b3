"""Structures that nobody labelled: a volume cut into pieces that look alike.

Self-supervised few-shot segmentation learns from them in place of organs (Ouyang et al. 2020, arXiv
2007.09886). SLIC (Achanta et al. 2012) groups voxels by intensity and by distance in mm; it runs on
slices of at most `SIDE` rows and columns, and its labels are brought back to native resolution by
the nearest neighbor. What is as dark as the background everywhere is no structure.
"""

import numpy as np
from jaxtyping import Int32, Integer, Real
from skimage.segmentation import slic
from skimage.transform import resize

from jaxmeta.data.intensity import Intensity

SIDE = 128
COMPACTNESS = 0.05  # weight of distance in units of intensities whose standard deviation is 1
DARK = 0.05  # of the range: what is darker on average is background


def supervoxels(
    slices: Real[np.ndarray, "N H W"],
    intensity: Intensity,
    spacing: tuple[float, float, float],
    count: int,
    *,
    slope: float = 1.0,
    intercept: float = 0.0,
) -> Int32[np.ndarray, "N H W"]:
    """Cut a volume, given as stored numbers, into about `count` pieces, numbered from 1; 0 is
    background.

    `spacing` is in mm along N, H and W.
    """
    n, height, width = slices.shape
    small = tuple(min(side, SIDE) for side in (height, width))
    real = slices.astype(np.float32) * np.float32(slope) + np.float32(intercept)
    seen = np.clip(real, intensity.low, intensity.high)
    if small != (height, width):
        seen = np.stack([resize(plane, small, order=1, anti_aliasing=True) for plane in seen])
    mm = (spacing[0], spacing[1] * height / small[0], spacing[2] * width / small[1])
    labels = slic(
        (seen - intensity.mean) / intensity.std,
        n_segments=count,
        compactness=COMPACTNESS,
        spacing=mm,
        channel_axis=None,
        start_label=1,
    )
    dark = intensity.low + DARK * (intensity.high - intensity.low)
    sums = np.bincount(labels.ravel(), seen.ravel())
    means = sums / np.maximum(np.bincount(labels.ravel()), 1)
    kept = np.flatnonzero((means > dark) & (np.arange(len(means)) > 0))
    number = np.zeros(len(means), np.int32)
    number[kept] = np.arange(1, len(kept) + 1)
    rows, columns = (nearest_known(*sides) for sides in zip((height, width), small, strict=True))
    return number[labels][:, rows[:, None], columns]


def nearest_known(count: int, known: int) -> Integer[np.ndarray, " count"]:
    """Say for each of `count` pixels which of `known` ones along the same side has the nearest
    center.

    Pixel i's center lies at the share (i + 1/2) / count of the side, in pixel (i + 1/2) known /
    count. From the corners, i known / count, everything would be shifted by half of the difference
    of two pixels.
    """
    return (2 * np.arange(count) + 1) * known // (2 * count)
