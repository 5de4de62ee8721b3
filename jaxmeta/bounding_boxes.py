"""The smallest box around a structure, of NumPy's arrays and JAX's alike."""

from typing import Any

from jaxtyping import Float, Shaped


def box_around(mask: Shaped[Any, "N H W"]) -> Float[Any, "N 4"]:
    """Find x, y of the first pixel of each mask and of its last; the whole image for an empty
    one."""
    lib = mask.__array_namespace__()

    def ends(along):
        length = along.shape[1]
        return along.argmax(1), length - 1 - along[:, ::-1].argmax(1)

    (left, right), (top, bottom) = ends((mask > 0).any(1)), ends((mask > 0).any(2))
    return lib.stack([left, top, right, bottom], axis=-1).astype(lib.float32)
