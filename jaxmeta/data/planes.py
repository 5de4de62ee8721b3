"""The convention in which the slices of one data set are shown, told from its files' headers.

Each volume keeps the slices that it was acquired in; what a data set shares is the anatomical plane that
says how rows and columns run. It is that of most of its volumes: of a study of hearts, whose short axis
lies between two planes, every patient is then shown alike.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxmeta.data.cases import Case
from jaxmeta.data.nifti_bytes import affine_of, shape_of
from jaxmeta.data.orientation import ACQUIRED, common_plane, nearest_plane, plane_of


def shown_alike(cases: Sequence[Case], rule: str) -> list[Case]:
    """Say of every case as which plane its slices are shown.

    A volume whose slices are more than 60 degrees off the data set's plane is shown as its own.
    """
    if rule != ACQUIRED:
        return [case._replace(plane=rule) for case in cases]
    heads = {image: _head(image) for image in {case.image for case in cases}}
    shared = {}
    for dataset in {case.dataset for case in cases}:
        own = (heads[case.image] for case in cases if case.dataset == dataset)
        shared[dataset] = common_plane(_planes(own, rule))
    found = []
    for case in cases:
        head, plane = heads[case.image], shared[case.dataset]
        plane = nearest_plane(*head, rule, [plane])[0] if head else plane
        found.append(case._replace(plane=plane))
    return found


def _planes(heads: Iterable, rule: str):
    return (plane_of(*head, rule) for head in heads if head)


def _head(image: Path):
    """(shape, affine) of an image; None where reading it all will say what is wrong."""
    shape, affine = shape_of(image), affine_of(image)
    return (shape[:3], affine) if len(shape) >= 3 and affine is not None else None
