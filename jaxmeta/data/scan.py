"""A scan is a value: its numbers as they are stored, what they mean, and where they lie.

However a scan comes - from its own file (`reading.py`, `inference/scan.py`) or from shards
(`shards/load.py`) - it is a `Scan`, and `network_input` is the one way from it to what a network
sees. So training and `predict` cannot differ.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from jaxtyping import Float32, Real, UInt8

from jaxmeta.data.formats.image import Image, rescaled
from jaxmeta.data.grid import Grid, resize_image, resize_mask, to_slices
from jaxmeta.data.intensity import Intensity, clip, measure_intensity, normalize
from jaxmeta.errors import BadInput


class Scale(NamedTuple):
    """What stored numbers mean: real value = slope * number + intercept; of a CT in HU."""

    slope: float = 1.0
    intercept: float = 0.0


class Slices(Protocol):
    """The numbers of a volume by its slices: an array [N, H, W], or what reads them when asked."""

    def __len__(self) -> int: ...

    def __getitem__(self, slices: np.ndarray) -> Real[np.ndarray, "n H W"]: ...


class Scan(NamedTuple):
    """One volume as it was read, cut into slices."""

    values: Slices  # [N, H, W] as stored: 16 bits or less
    scale: Scale
    geometry: Grid  # mm; and the way back to the file's own array
    intensity: Intensity  # the window, in real units, and what is subtracted and divided by


def scan_of(
    image: Image,
    grid: Grid,
    modality: str,
    *,
    file: str | Path,
    rescale: tuple[float, float] | None = None,
) -> Scan:
    """Cut an image into slices, and choose its window ("ct" or "mr").

    `rescale` is the slope and the intercept that bring its real values to HU, where a user told.
    Raises BadInput with the name of the file: `Unseen` for a CT of which the window shows nothing.
    """
    image = rescaled(image, rescale)
    scale = Scale(image.slope, image.intercept)
    try:
        told = dict(sure=rescale is not None, **scale._asdict())
        intensity = measure_intensity(image.values, modality, **told)
    except BadInput as error:
        raise type(error)(f"{file}: {error}") from None
    return Scan(to_slices(image.values, grid), scale, grid, intensity)


def network_input(
    scan: Scan, slices: Sequence[int] | np.ndarray, size: int | None, spacing: float | None = None
) -> Float32[np.ndarray, "N H W 1"]:
    """Window, resize and normalize slices: the one way from stored numbers to a network.

    Slices are numbered from 0 and become squares of `size` pixels, each `spacing` mm wide or, None,
    stretched to the square; with a `size` of None they keep their own, for networks that resize in
    their own way. Resizing is linear, so it commutes with subtracting the mean and dividing:
    both are done on the smaller of the two arrays. What lies outside of the slice looks like the
    window's lower end. Raises IndexError for a slice that is not there.
    """
    scale, intensity = scan.scale, scan.intensity
    seen = clip(scan.values[np.asarray(slices, int)], intensity, *scale)
    if size is not None:
        outside = (intensity.low - scale.intercept) / scale.slope if spacing else 0.0
        seen = resize_image(seen, size, scan.geometry, spacing=spacing, fill=outside)
    return normalize(seen, intensity, *scale)


class SlicePreprocessing(NamedTuple):
    """How the slices of a scan, and their masks, become squares that a network sees."""

    images: Callable[..., Float32[np.ndarray, "N S S 1"]] = network_input
    masks: Callable[..., UInt8[np.ndarray, "N S S"]] = resize_mask
