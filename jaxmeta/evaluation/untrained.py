"""Rows that learn nothing from other structures: what every learner must beat.

Both go by where a slice lies in its volume, so a slice alone tells them little.
"""

import numpy as np
from jaxtyping import Float

from jaxmeta.atlas import Rule
from jaxmeta.atlas import segment as segment_by_atlas
from jaxmeta.evaluation.segmenter import Segmenter
from jaxmeta.evaluation.trial import atlases, places_for


def nearest_support_mask(name: str) -> Segmenter:
    """Make what learns nothing: every slice gets the support mask nearest in relative height.

    The field of view is taken for the same stretch of body in every patient. Slices that lie
    further outside of the labelled stretch than its slices lie apart (on average) stay empty; one
    slice alone tells nothing of the extent and is copied everywhere. No oracle says where the
    structure ends.
    """

    def fit(support, keys):
        return support.examples.mask, support.place

    def segment(fitted, image, place):
        masks, known = fitted
        nearest = np.abs(place[None, :, None] - known[:, None, :]).argmin(-1)
        chosen = np.take_along_axis(masks, nearest[..., None, None], axis=1)
        low, high = reach(known)
        inside = (place[None] >= low[:, None]) & (place[None] <= high[:, None])
        return chosen * inside[..., None, None].astype(np.float32)

    def segment_each(fitted, image, prompt=()):
        masks, _ = fitted
        return np.repeat(masks[:, :1], image.shape[1], axis=1).astype(np.float32)

    return Segmenter(name, fit, segment, segment_each, by_height=True)


def reach(known: Float[np.ndarray, "T K"]) -> tuple[np.ndarray, np.ndarray]:
    """Bound the stretch that labelled slices stand for: one mean gap more on both sides."""
    low, high, gaps = known.min(1), known.max(1), known.shape[1] - 1
    gap = (high - low) / gaps if gaps else np.inf
    return low - gap, high + gap


def place_and_intensity(name: str, rule: Rule = Rule()) -> Segmenter:
    """Make what takes the support as an atlas of the structure (`jaxmeta/atlas/`): moved to the
    query's body, compared patch by patch, and weighed with intensities of the query itself.

    It sees a volume whole. Within a volume, where support and query are neighbors, all slices of a
    chunk lie at the support's height.
    """

    def fit(support, keys):
        return atlases(support)

    def segment(fitted, image, place):
        return np.stack(
            [
                segment_by_atlas(atlas, image[..., 0], places_for(atlas, place), rule)
                for atlas in fitted
            ]
        )

    def segment_each(fitted, image, prompt=()):
        return np.stack(
            [
                segment_by_atlas(atlas, each[..., 0], np.full(len(each), atlas.height.mean()), rule)
                for atlas, each in zip(fitted, image, strict=True)
            ]
        )

    return Segmenter(name, fit, segment, segment_each, whole=True, by_height=True)
