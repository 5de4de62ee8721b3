"""How well a mask matches the truth: hard measures of one case in 3-D, at the original resolution.

`overlap` counts voxels, `surfaces` finds what bounds a mask, `distances` says how far two of them
are apart, `boundary` makes measures of that. Libraries of the field disagree in each of these steps
and about empty masks; `conventions` names every disagreement, and `measure` takes all measures of a
case by one convention.
"""

from jaxmeta.metrics.boundary import asd, assd, hausdorff, surface_dice
from jaxmeta.metrics.case import Measures, measure
from jaxmeta.metrics.conventions import CONVENTIONS, DEFAULT, Convention
from jaxmeta.metrics.counts import Counts, count, outcome
from jaxmeta.metrics.overlap import Overlap, dice, iou, overlap, precision, recall, volume_error

__all__ = [
    "CONVENTIONS",
    "DEFAULT",
    "Convention",
    "Counts",
    "Measures",
    "Overlap",
    "asd",
    "assd",
    "count",
    "dice",
    "hausdorff",
    "iou",
    "measure",
    "outcome",
    "overlap",
    "precision",
    "recall",
    "surface_dice",
    "volume_error",
]
