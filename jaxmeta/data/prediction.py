"""From probabilities on square slices to a mask on the volume's own grid."""

import numpy as np
from jaxtyping import Bool, Real
from scipy.ndimage import find_objects, label

from jaxmeta.data.grid import Grid, restore


def predicted_mask(
    probability: Real[np.ndarray, "N S S"],
    grid: Grid,
    *,
    spacing: float | None = None,
    largest_piece: bool = False,
) -> Bool[np.ndarray, "N H W"]:
    """Bring probabilities back to the original size and call more than a half the structure.

    With `largest_piece` the mask is one connected body: the usual last step for an organ that is one
    (nnU-Net, doi:10.1038/s41592-020-01008-z), because slices that are segmented one by one may each
    hold a small false one.
    """
    mask = restore(probability, grid, spacing=spacing) > 0.5
    return largest(mask) if largest_piece else mask


def largest(mask: Bool[np.ndarray, "N H W"]) -> Bool[np.ndarray, "N H W"]:
    """Keep the largest piece of a mask, voxels that share a face, an edge or a corner being one.

    Of pieces of the same size the first stays, in the order of the array.
    """
    pieces, count = label(mask, np.ones((3, 3, 3)), output=np.int32)
    if count < 2:
        return mask
    boxes = find_objects(pieces)
    sizes = [np.count_nonzero(pieces[box] == number) for number, box in enumerate(boxes, 1)]
    return pieces == 1 + int(np.argmax(sizes))
