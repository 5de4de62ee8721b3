"""Label fusion by patches: a pixel takes the masks of the pixels that look like it.

Around each pixel a small patch is compared with those of the nearest labelled slices at the same
place and near it; each votes for its own label, the more the likelier it looks (Coupe et al. 2011,
doi:10.1016/j.neuroimage.2010.09.018; no registration beyond the body's is needed).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Integer
from scipy.ndimage import uniform_filter

from jaxmeta.atlas.intensity import blurred


class Search(NamedTuple):
    """Where patches are looked for, and how they are compared; lengths in pixels."""

    side: int = 5  # of a patch
    reach: int = 4  # of the search, to each side
    step: int = 1  # of the search
    sd: float = 2.67  # of a Gaussian over how far away a patch was found
    noise: float = 0.3  # intensities that differ by so much are about as good as equal
    blur: float = 0.5  # of the slices that are compared


def votes(
    image: Float[np.ndarray, "N S S"],
    known: Float[np.ndarray, "K S S"],
    masks: Float[np.ndarray, "K S S"],
    nearest: Integer[np.ndarray, "N M"],
    weight: Float[np.ndarray, "N M"],
    search: Search,
) -> Float[np.ndarray, "N S S"]:
    """Give the share of votes for the structure, where it can be reached, and 0 elsewhere.

    Slice j asks the labelled slices `nearest[j]`, whose votes have these weights.
    """
    found = np.zeros(image.shape, np.float32)
    if not (box := reached(masks, search.reach + 1)):
        return found
    rows, columns = box
    half = search.side // 2
    pad = search.reach + half
    image, known, masks = (
        np.pad(each, ((0, 0), (pad, pad), (pad, pad)), mode="edge")
        for each in (blurred(image, search.blur), blurred(known, search.blur), masks)
    )

    def window(stack, down, right, more):
        return stack[
            :,
            rows.start + pad + down - more : rows.stop + pad + down + more,
            columns.start + pad + right - more : columns.stop + pad + right + more,
        ]

    seen = window(image, 0, 0, half)
    shape = (len(image), rows.stop - rows.start, columns.stop - columns.start)
    vote, total = np.zeros(shape, np.float32), np.full(shape, 1e-8, np.float32)
    offsets = range(-search.reach, search.reach + 1, search.step)
    for which, much in zip(nearest.T, weight.T, strict=True):
        asked = np.flatnonzero(much > 0)
        which, much = which[asked], np.log(much[asked])
        here = seen[asked]
        for down in offsets:
            for right in offsets:
                apart = (here - window(known, down, right, half)[which]) ** 2
                apart = uniform_filter(apart, (0, search.side, search.side))
                apart = apart[:, half : half + shape[1], half : half + shape[2]]
                far = 0.5 * (down**2 + right**2) / search.sd**2
                like = np.exp((much - far)[:, None, None] - apart / search.noise**2)
                vote[asked] += like * window(masks, down, right, 0)[which]
                total[asked] += like
    found[:, rows, columns] = vote / total
    return found


def reached(masks: Float[np.ndarray, "K S S"], margin: int) -> tuple[slice, slice] | None:
    """Give the rows and the columns that hold a mask, or are not farther from one than this."""
    held = masks.max(0) > 0.05
    if not held.any():
        return None
    ends = (np.flatnonzero(held.any(axis)) for axis in (1, 0))
    return tuple(
        slice(max(each[0] - margin, 0), min(each[-1] + margin + 1, masks.shape[-1]))
        for each in ends
    )
