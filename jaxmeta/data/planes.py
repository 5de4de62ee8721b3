"""The convention in which the slices of one data set are shown, told from its files' headers.

Each volume keeps the slices that it was acquired in; what a data set shares is the frame that says
how slices, rows and columns run: that of the volume in its middle, shown as the anatomical plane it
is nearest to. Of a study of hearts, whose short axis lies between planes, every patient is then
shown alike.
"""

from collections.abc import Sequence

from jaxmeta.data.cases import Case
from jaxmeta.data.formats.image import placed_of
from jaxmeta.data.grid import grid_by
from jaxmeta.data.orientation import ACQUIRED, common_frame, nearest_frame, own_frame


def shown_alike(cases: Sequence[Case], rule: str) -> list[Case]:
    """Say of every case which plane its slices are nearest to, and how its axes are ordered and
    flipped.

    A volume whose slices are more than 60 degrees off the data set's is shown as its own. Nothing
    is said of a file that cannot be read: reading it all will say what is wrong.
    """
    if rule != ACQUIRED:
        return list(cases)
    heads = {image: placed_of(image) for image in {case.image for case in cases}}
    shared = {}
    for dataset in {case.dataset for case in cases}:
        own = [heads[case.image] for case in cases if case.dataset == dataset]
        frames = [own_frame(*head, rule) for head in own if head]
        shared[dataset] = [common_frame(frames)] if frames else []
    found = []
    for case in cases:
        if head := heads[case.image]:
            frame, _ = nearest_frame(*head, rule, shared[case.dataset])
            grid = grid_by(rule, *head, b"", frame)
            case = case._replace(plane=grid.axis, order=grid.order)
        found.append(case)
    return found
