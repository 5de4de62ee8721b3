"""What the field's libraries mean by HD95, ASSD and NSD, and what they say of an empty mask.

    convention   surface of distances    HD95                    ASSD     NSD by     a mask is empty
    default      outermost voxels        larger of both          pooled   area       diagonal, 0
    monai        outermost voxels        larger of both          pooled   voxels     NaN, infinite
    medpy        outermost voxels        of both pooled          pooled   (none)     error
    deepmind     cells, by area          larger of both, by area (none)   area       infinite

One pair of masks has an HD95 of 0, 5.5 or 15.7 among them, so a score means nothing without its
convention. Only `default` punishes a miss: by the diagonal of the volume in mm. Ours are written
from the definitions; the tests hold them against MedPy's, MONAI's and surface-distance's own
values.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from jaxmeta.metrics.boundary import assd, by_area, hausdorff
from jaxmeta.metrics.distances import Distances
from jaxmeta.metrics.overlap import NAN
from jaxmeta.metrics.surfaces import area_surface, voxel_surface

DISTANCES = ("hd95", "assd", "asd", "asd_back")


class Convention(NamedTuple):
    """How one library measures."""

    name: str
    surface: Callable  # of the distances
    hausdorff: Callable[[Distances, float], float]
    assd: Callable[[Distances], float] | None
    nsd: Callable | None  # the surface that the surface Dice is a share of
    empty: Callable[[str, float], dict[str, float]]


def worst(outcome: str, diagonal: float) -> dict[str, float]:
    """A miss is as far off as anything in the volume can be, and shares no surface."""
    if outcome == "empty":
        return dict.fromkeys((*DISTANCES, "nsd"), NAN)
    return dict.fromkeys(DISTANCES, diagonal) | {"nsd": 0.0}


def overlap_alone(outcome: str, diagonal: float) -> dict[str, float]:
    """A miss has Dice and NSD 0, and no distance; the means of distances leave it out."""
    return dict.fromkeys(DISTANCES, NAN) | {"nsd": NAN if outcome == "empty" else 0.0}


def undefined(outcome: str, diagonal: float) -> dict[str, float]:
    """A case with an empty mask has no number at all."""
    return dict.fromkeys((*DISTANCES, "nsd", "dice", "iou"), NAN)


def refused(outcome: str, diagonal: float) -> dict[str, float]:
    """A case with an empty mask is an error."""
    which = {"missed": "the prediction is", "false alarm": "the truth is", "empty": "both are"}
    raise ValueError(f"no distance between surfaces: {which[outcome]} empty; choose another policy")


def as_monai(outcome: str, diagonal: float) -> dict[str, float]:
    """As MONAI 1.5 by default: whatever has no truth is left out of the mean of Dice."""
    if outcome == "empty":
        return dict.fromkeys((*DISTANCES, "nsd"), NAN)
    values = {"hd95": NAN, "assd": math.inf, "asd": math.inf, "asd_back": math.inf, "nsd": 0.0}
    return values | ({"dice": NAN, "iou": NAN} if outcome == "false alarm" else {})


def as_deepmind(outcome: str, diagonal: float) -> dict[str, float]:
    """As surface-distance: infinitely far from what is not there, and no mean over no surface."""
    values = {"hd95": math.inf, "assd": NAN, "asd": NAN, "asd_back": NAN, "nsd": NAN}
    one = {
        "missed": {"asd_back": math.inf, "nsd": 0.0},
        "false alarm": {"asd": math.inf, "nsd": 0.0},
    }
    return values | one.get(outcome, {})


DEFAULT = Convention("default", voxel_surface, hausdorff, assd, area_surface, worst)
MONAI = Convention("monai", voxel_surface, hausdorff, assd, voxel_surface, as_monai)
MEDPY = Convention("medpy", voxel_surface, partial(hausdorff, pooled=True), assd, None, refused)
DEEPMIND = Convention(
    "deepmind", area_surface, partial(hausdorff, of=by_area), None, area_surface, as_deepmind
)
CONVENTIONS = {each.name: each for each in (DEFAULT, MONAI, MEDPY, DEEPMIND)}
