"""Where the body lies in the field of view, and slices moved from one body's place to another's."""

import numpy as np
from jaxtyping import Float
from scipy.ndimage import affine_transform

from jaxmeta.atlas.intensity import blurred

BODY = 0.15  # of the way from the darkest to the bright: less is background
DARK, BRIGHT = 2, 90  # percentiles
TRIM = 0.03  # of the body that each side of its box leaves out: arms, noise
LEAST, MOST = 0.7, 1.4  # how much larger or smaller one body may be taken to be than another

Box = tuple[tuple[float, float], tuple[float, float]]  # (middle, length) along rows and columns


def body_box(image: Float[np.ndarray, "N S S"], scale: float = 1.0) -> Box:
    """Box what is not background in a stack of slices, in pixels; `scale` times as many as usual to
    a slice."""
    image = blurred(image, scale)
    dark, bright = np.percentile(image, (DARK, BRIGHT))
    inside = image > dark + BODY * (bright - dark)
    return tuple(extent(inside.sum((0, other))) for other in (2, 1))


def extent(count: Float[np.ndarray, " S"]) -> tuple[float, float]:
    """Give the middle and the length of what all but `TRIM` at both ends lies in."""
    if not count.sum():
        return (len(count) - 1) / 2, float(len(count))
    first, last = (
        np.searchsorted(np.cumsum(each), TRIM * count.sum()) for each in (count, count[::-1])
    )
    last = len(count) - 1 - last
    return (first + last) / 2, max(float(last - first + 1), 1.0)


def moved(slices: Float[np.ndarray, "K S S"], own: Box, to: Box) -> Float[np.ndarray, "K S S"]:
    """Move slices of a body with a box of its `own` to where another body's lies, each axis scaled
    by itself; linear between pixels."""
    scale, offset = [1.0], [0.0]
    for (middle, length), (middle_to, length_to) in zip(own, to, strict=True):
        step = np.clip(length / length_to, 1 / MOST, 1 / LEAST)
        scale.append(step)
        offset.append(middle - step * middle_to)
    return affine_transform(slices.astype(np.float32), scale, offset, order=1, mode="nearest")
