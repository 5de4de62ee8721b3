"""All measures of one case, by one convention."""

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from jaxtyping import Bool

from jaxmeta.metrics.boundary import asd, surface_dice
from jaxmeta.metrics.conventions import DEFAULT, Convention
from jaxmeta.metrics.counts import outcome
from jaxmeta.metrics.distances import between
from jaxmeta.metrics.overlap import NAN, dice, iou, overlap, precision, recall, volume_error
from jaxmeta.metrics.surfaces import Spacing


class Measures(NamedTuple):
    """What is measured of a case; NaN where there is nothing to measure."""

    dice: float
    iou: float
    precision: float
    recall: float
    volume_error: float  # (P - T) / T
    hd95: float  # mm
    assd: float  # mm
    asd: float  # mm, from the prediction to the truth
    asd_back: float  # mm, from the truth to the prediction
    nsd: float
    outcome: str


def measure(
    predicted: Bool[np.ndarray, "A B C"],
    target: Bool[np.ndarray, "X Y Z"],
    *,
    spacing: Sequence[float | int] | Literal["voxel"],
    tolerance: float | int = 2.0,
    convention: Convention = DEFAULT,
) -> Measures:
    """Measure a mask against the truth.

    `spacing` is the distance between voxels along each axis of the arrays in mm; "voxel" makes
    every distance one of voxels, as papers on cropped left atria have it. `tolerance` in mm is the
    NSD's. Raises ValueError for masks of different shapes, for spacings that are none, and where
    the convention refuses empty masks.
    """
    if predicted.shape != target.shape:
        raise ValueError(f"prediction of shape {predicted.shape}, truth of {target.shape}")
    mm = checked_spacing(spacing)
    counted = overlap(predicted, target)
    values = dict(
        dice=dice(counted),
        iou=iou(counted),
        precision=precision(counted),
        recall=recall(counted),
        volume_error=volume_error(counted),
        outcome=outcome(counted),
    )
    if values["outcome"] != "scored":
        diagonal = float(np.linalg.norm(np.multiply(mm, target.shape)))
        values |= convention.empty(values["outcome"], diagonal)
        if convention.nsd is None:
            values["nsd"] = NAN
    else:
        values |= distant(predicted, target, mm, tolerance, convention)
    return Measures(**values)


def distant(predicted, target, mm: Spacing, tolerance: float, convention: Convention) -> dict:
    """Take the measures of distance of two masks that both have voxels."""

    def found(surface, within=math.inf):
        return between(surface(predicted, mm), surface(target, mm), mm, within=within)

    distances = found(convention.surface)
    forth, back = asd(distances)
    values = dict(hd95=convention.hausdorff(distances, 95), asd=forth, asd_back=back)
    values["assd"] = convention.assd(distances) if convention.assd else NAN
    if convention.nsd and convention.nsd is not convention.surface:
        distances = found(convention.nsd, tolerance)
    values["nsd"] = surface_dice(distances, tolerance) if convention.nsd else NAN
    return values


def checked_spacing(spacing: Sequence[float | int] | Literal["voxel"]) -> Spacing:
    """Return the spacing as three numbers above 0."""
    if isinstance(spacing, str):
        if spacing != "voxel":
            raise ValueError(f'spacing {spacing!r}: three numbers in mm, or "voxel"')
        return 1.0, 1.0, 1.0
    mm = tuple(float(each) for each in spacing)
    if len(mm) != 3 or not all(0 < each < float("inf") for each in mm):
        raise ValueError(f"spacing {mm}: should be three numbers above 0, in mm")
    return mm
