"""Slices as the code released with MetaMedSeg stores them, for comparison only: grey 8-bit
pictures. `AS_UINT8` gives them in place of the trunk's own preprocessing.

Every slice is resized and stretched from its own least to its own largest value, so that the same
tissue looks different from slice to slice; a mask is resized linearly and cut at half of its
slice's own maximum, so that thin parts grow and small ones never vanish (arXiv 2109.09734, released
code).
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32, Real, UInt8

from jaxmeta.data.grid import Grid, resize_image
from jaxmeta.data.scan import Scan, SlicePreprocessing
from jaxmeta.options import options


def uint8_images(
    slices: Real[np.ndarray, "N H W"],
    grid: Grid,
    *,
    size: int,
    spacing: float | None = None,
    slope: float = 1.0,
) -> Float32[np.ndarray, "N S S 1"]:
    """Resize slices and stretch each to 0 .. 1 in 256 steps; one of a single value is 0.

    What a slice does not reach looks like its own least value: a slice's picture is the same alone
    and among others.
    """
    upright = slices.astype(np.float32) * np.float32(np.sign(slope))
    upright -= upright.min((1, 2), keepdims=True)
    small = resize_image(upright, size, grid, spacing=spacing)
    low, high = (end(small, axis=(1, 2), keepdims=True) for end in (np.min, np.max))
    share = (small - low) / np.where(high > low, high - low, 1)
    steps = np.minimum(np.floor(share * 256), 255)
    return (steps / np.float32(255)).astype(np.float32)[..., None]


def uint8_masks(
    slices: UInt8[np.ndarray, "N H W"], size: int, grid: Grid, *, spacing: float | None = None
) -> UInt8[np.ndarray, "N S S"]:
    """Resize binary slices linearly and cut each at half of its own maximum."""
    small = resize_image(slices.astype(np.float32), size, grid, spacing=spacing)
    half = small.max((1, 2), keepdims=True) / 2
    return ((small > half) & (half > 0)).astype(np.uint8)


def uint8_input(
    scan: Scan, slices: Sequence[int] | np.ndarray, size: int, spacing: float | None = None
) -> Float32[np.ndarray, "N S S 1"]:
    """Take slices of a scan as pictures: what `network_input` is in the trunk."""
    how = dict(size=size, spacing=spacing, slope=scan.scale.slope)
    return uint8_images(scan.values[slices], scan.geometry, **how)


AS_UINT8 = SlicePreprocessing(uint8_input, uint8_masks)


@options
class ReleasedSlices:
    """How the codes released with papers see slices; for comparison only."""

    as_uint8: bool = False
    """As 8-bit pictures, each from its own least to its own largest value, as the codes released
    with MetaMedSeg and SSM-SAM have them."""


def slices_as(how: ReleasedSlices) -> SlicePreprocessing:
    """Choose how slices become what a network sees."""
    return AS_UINT8 if how.as_uint8 else SlicePreprocessing()
