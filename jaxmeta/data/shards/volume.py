"""One volume as it is prepared: its row of the index, and its records in their order."""

from collections.abc import Iterator
from itertools import chain

from jaxmeta.data.cases import Case
from jaxmeta.data.fingerprint import fingerprint, mask_digest
from jaxmeta.data.grid import spacing
from jaxmeta.data.masks import masks_of
from jaxmeta.data.reading import read_case, read_masks
from jaxmeta.data.shards.index import Held, IndexRow
from jaxmeta.data.supervoxels import supervoxels

PIECE = "supervoxel_"


def prepare_case(
    case: Case, first: int, *, axis: str, fill_nan: float | None, pieces: int
) -> tuple[IndexRow, Iterator[bytes], int]:
    """Read one volume: (its row of the index, its records, their number).

    `first` is the number of its first record; it is also cut into about so many `pieces` that look
    alike, if not 0. Raises BadInput with the name of the file.
    """
    image, scan = read_case(case, axis, fill_nan)
    grid, scale = scan.geometry, scan.scale
    found, unnamed, notes = read_masks(case, image, grid)
    if case.atlas:
        found = {structure: masks for structure, masks in found.items() if masks}
    slices = scan.values.astype(scan.values.dtype.newbyteorder("<"), copy=False)
    structures, number = _placed(found, first + len(slices))
    pieced = {}
    if pieces:
        cut = supervoxels(slices, scan.intensity, spacing(grid), pieces, **scale._asdict())
        pieced, _ = masks_of(cut, None, PIECE)
    placed, number = _placed(pieced, number)
    row = IndexRow(
        name=case.name,
        patient=case.patient,
        dataset=case.dataset,
        modality=case.modality,
        channel=_channel(case),
        grid=grid,
        intensity=scan.intensity,
        dtype=slices.dtype.str,
        scale=scale,
        image=first,
        structures=structures,
        unnamed=tuple(unnamed),
        fingerprint=fingerprint(image.values, *scale),
        mask_digests={name: mask_digest(of) for name, of in sorted(found.items()) if of},
        supervoxels=placed,
        notes=image.notes + notes,
    )
    masks = (
        record for part in (found, pieced) for _, of in sorted(part.items()) for *_, record in of
    )
    return row, chain((plane.tobytes() for plane in slices), masks), number - first


def _placed(found, number):
    """Say of every structure where its masks are, the first of all being record `number`.

    Returns these, and the number behind the last record.
    """
    structures = {}
    for structure, masks in sorted(found.items()):
        start = masks[0][0] if masks else 0
        pixels = [0] * (masks[-1][0] + 1 - start if masks else 0)
        for plane, count, _ in masks:
            pixels[plane - start] = count
        structures[structure] = Held(start, number, tuple(pixels))
        number += len(masks)
    return structures, number


def _channel(case):
    """Name the channel that was read of an image that holds several."""
    if case.channel is None:
        return None
    return case.channels[case.channel] if case.channels else str(case.channel)
