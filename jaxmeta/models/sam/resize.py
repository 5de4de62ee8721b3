"""Weights for images of another size than they were learned at."""

import numpy as np
from jaxtyping import PyTree

from jaxmeta.errors import BadInput
from jaxmeta.models.sam.attention import interpolation
from jaxmeta.models.sam.size import Size


def for_image(encoder: PyTree, size: Size, side: int) -> tuple[PyTree, Size]:
    """Interpolate an image encoder's tables of positions for images of this side, once and for all.

    Those of blocks that see windows alone stay as they are. Sums are of float64 before they are
    rounded, so that every machine has the same weights. Raises BadInput where the side is no
    multiple of the patch.
    """
    if side % size.patch:
        raise BadInput(f"images of {side} pixels: must be a multiple of the patch's {size.patch}")
    other = size._replace(image=side)
    if other == size:
        return encoder, size
    grid = interpolation(size.grid, other.grid).astype(np.float64)
    changed = dict(encoder)
    table = np.einsum("Hh,hwd,Ww->HWd", grid, encoder["pos_embed"], grid)
    changed["pos_embed"] = table.astype(np.float32)
    between = interpolation(2 * size.grid - 1, 2 * other.grid - 1).astype(np.float64)
    for number in size.whole:
        block = encoder[f"blocks_{number}"]
        tables = {
            name: (between @ np.asarray(block["attn"][name])).astype(np.float32)
            for name in ("rel_pos_h", "rel_pos_w")
        }
        changed[f"blocks_{number}"] = block | {"attn": block["attn"] | tables}
    return changed, other
