"""From probabilities on square slices to a mask on the volume's own grid."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Integer, Real
from scipy.ndimage import find_objects, label

from jaxmeta.data.grid import Grid, restore


def predicted_mask(
    probability: Real[np.ndarray, "N S S"],
    grid: Grid,
    *,
    spacing: float | None = None,
    largest_component: bool = False,
) -> Bool[np.ndarray, "N H W"]:
    """Bring probabilities back to the original size and call more than a half the structure.

    With `largest_component` the mask is one connected body: the usual last step for an organ that
    is one (nnU-Net, doi:10.1038/s41592-020-01008-z), because slices that are segmented one by one
    may each hold a small false one.
    """
    mask = restore(probability, grid, spacing=spacing) > 0.5
    return largest(mask) if largest_component else mask


def predicted_labels(
    probabilities: Real[np.ndarray, "K N S S"],
    values: Sequence[int],
    grid: Grid,
    *,
    spacing: float | None = None,
    largest_component: bool = False,
) -> tuple[Integer[np.ndarray, "N H W"], Float[np.ndarray, "K N H W"]]:
    """Bring the probabilities of K structures back, and give each voxel the value of the most
    probable.

    A voxel where none is above a half is 0. Returns the probabilities too.
    """
    whole = np.stack([restore(each, grid, spacing=spacing) for each in probabilities])
    labels = highest(whole, values, above=0.5)
    return largest_components(labels) if largest_component else labels, whole


def highest(
    scores: Real[np.ndarray, "K *shape"], values: Sequence[int], *, above: float
) -> Integer[np.ndarray, "*shape"]:
    """Give each place the value of the structure with the highest score, 0 where none is above so
    much.

    Of equal scores the first counts.
    """
    labels = np.zeros(scores.shape[1:], np.uint16)
    best = np.full(scores.shape[1:], above, scores.dtype)
    for each, value in zip(scores, values, strict=True):
        better = each > best
        labels[better], best[better] = value, each[better]
    return labels


def largest_components(labels: Integer[np.ndarray, "N H W"]) -> Integer[np.ndarray, "N H W"]:
    """Keep the largest connected component of each structure."""
    kept = np.zeros_like(labels)
    for value in np.unique(labels[labels > 0]):
        kept[largest(labels == value)] = value
    return kept


def largest(mask: Bool[np.ndarray, "N H W"]) -> Bool[np.ndarray, "N H W"]:
    """Keep the largest connected component of a mask, by faces, edges and corners.

    Of several of the same size the first stays, in the order of the array.
    """
    pieces, count = label(mask, np.ones((3, 3, 3)), output=np.int32)
    if count < 2:
        return mask
    boxes = find_objects(pieces)
    sizes = [np.count_nonzero(pieces[box] == number) for number, box in enumerate(boxes, 1)]
    return pieces == 1 + int(np.argmax(sizes))
