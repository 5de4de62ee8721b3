"""Read one case's files: its image in the units that were told, and its structures, slice by
slice."""

from collections.abc import Sequence

import numpy as np

from jaxmeta.data.cases import Case
from jaxmeta.data.formats.image import MANY, Image, read_image, read_label_of
from jaxmeta.data.grid import Grid, grid_by, to_slices
from jaxmeta.data.masks import masks_of
from jaxmeta.data.placement import Note
from jaxmeta.data.scan import Scan, scan_of
from jaxmeta.errors import BadInput, Unseen

LOOKED_AT = 20  # scans that are read to say of how many others a fault is true


def read_case(case: Case, rule: str, fill_nan: float | None) -> tuple[Image, Scan]:
    """Read a case's image, and cut it by a rule of `orientation.py` and by what the case says.

    Raises BadInput with the name of the file.
    """
    which = {"channel": case.channel, "channels": case.channels}
    image = read_image(case.image, fill_nan=fill_nan, **which)
    grid = grid_by(rule, image.values.shape, image.affine, image.header)
    if case.plane:
        grid = grid._replace(axis=case.plane, order=case.order)
    return image, scan_of(image, grid, case.modality, file=case.image, rescale=case.rescale)


def read_masks(
    case: Case, image: Image, grid: Grid
) -> tuple[dict[str, list[tuple[int, int, bytes]]], list[int], tuple[Note, ...]]:
    """Read a case's label: (structure -> masks as of `masks_of`, values without a name, notes);
    of a case that nobody labelled there are none.

    Of a file for each structure any value is the structure, one value a file; such masks may
    overlap. Raises BadInput with the name of the file.
    """
    if case.label is None:
        return {}, [], ()
    if not case.files:
        label, notes = read_label_of(image, case.image, case.label)
        return *masks_of(to_slices(label, grid), case.names, case.prefix), notes
    found, notes = {}, ()
    for structure, file in case.files.items():
        label, more = read_label_of(image, case.image, file)
        values = np.unique(label[label > 0])
        if len(values) >= MANY:
            raise BadInput(
                f"{file}: holds {len(values)} values, as an image does, and not a mask of "
                f'"{structure}", as its place beside {case.image.name} says; take it out of the '
                "folder, or say which files belong together, by `pairs`"
            )
        if len(values) > 1:
            told = ", ".join(map(str, values[:5]))
            raise BadInput(
                f"{file}: holds values {told}, but a file of one structure has one value beside 0; "
                "a label map of several goes beside its image alone"
            )
        mask = to_slices((label > 0).astype(np.uint8), grid)
        found |= masks_of(mask, {structure: (1,)}, "")[0]
        notes += more
    return found, [], notes


def unseen_share(cases: Sequence[Case], rule: str, fill_nan: float | None) -> str:
    """Say of how many CTs the window shows nothing: all, or some spread evenly over them."""
    scans = [case for case in cases if case.modality == "ct"]
    step = max(1, -(-len(scans) // LOOKED_AT))
    some, count = scans[::step], 0
    for case in some:
        try:
            read_case(case, rule, fill_nan)
        except Unseen:
            count += 1
        except BadInput:
            pass
    looked = f" looked at, of {len(scans)}" if len(some) < len(scans) else ""
    return f"so it is with {count} of {len(some)} CT scans{looked}"
