"""Labels that a network made, with how sure it was: a structure of scans that nobody labelled.

A folder holds a file of probabilities for each scan, on its own grid, and a table of what made
them, of which structure and of which voxels. Written scan by scan, the table last, so what stands
there is whole.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from jaxmeta.data.grid import resize_image, sliced_shape
from jaxmeta.data.shards.shards import Shards, Volume
from jaxmeta.errors import BadInput
from jaxmeta.files import DAMAGED, beside, write_json

FOLDER, TABLE = "initial-labels", "labels.json"  # in the folder of a run; in that folder
FIRST_STAGE, ATLAS = "stage-1", "atlas"  # who gives them, if no other run and no structure does
SUREST = 255  # of probabilities, as they are stored


class InitialLabels(NamedTuple):
    """An opened folder."""

    folder: Path
    structure: str
    made_by: str  # fingerprint of what made them
    volumes: Mapping[str, str]  # name of the scan -> its file; in `fingerprints` its voxels'
    fingerprints: Mapping[str, str]


def write_initial_labels(
    folder: Path,
    structure: str,
    made_by: str,
    found: Iterable[tuple[Volume, Float[np.ndarray, "N H W"]]],
) -> InitialLabels:
    """Write the probabilities of scans, one at a time; the table comes last."""
    (folder / TABLE).unlink(missing_ok=True)
    files, fingerprints = {}, {}
    for number, (volume, probability) in enumerate(found):
        if probability.shape != sliced_shape(volume.grid):
            raise ValueError(
                f"{volume.name} has slices of shape {sliced_shape(volume.grid)}, these "
                f"probabilities {probability.shape}"
            )
        file = f"{number:04}.npz"
        with beside(folder / file) as part, part.open("wb") as stream:
            stored = np.round(SUREST * np.clip(probability, 0, 1)).astype(np.uint8)
            np.savez_compressed(stream, **{str(n): each for n, each in enumerate(stored)})
        files[volume.name], fingerprints[volume.name] = file, volume.fingerprint
    table = dict(structure=structure, made_by=made_by, files=files, fingerprints=fingerprints)
    write_json(folder / TABLE, table)
    return InitialLabels(folder, structure, made_by, files, fingerprints)


def open_initial_labels(
    folder: Path, shards: Shards, structure: str, names: Sequence[str], made_by: str = ""
) -> InitialLabels:
    """Open the labels of these scans.

    Raises BadInput where there are none, of another structure, of other voxels under a scan's name,
    or, with `made_by`, made by another network than that.
    """
    path = folder / TABLE
    if not path.is_file():
        raise BadInput(f"{folder}: no initial labels there (no {TABLE})")
    try:
        table = json.loads(path.read_text("utf-8"))
        found = InitialLabels(
            folder, *(table[n] for n in ("structure", "made_by", "files", "fingerprints"))
        )
    except (ValueError, KeyError, TypeError):
        raise BadInput(f"{path}: no table of initial labels; remove the folder") from None
    if found.structure != structure:
        raise BadInput(f"{folder}: initial labels of {found.structure}, not of {structure}")
    if made_by and found.made_by != made_by:
        raise BadInput(
            f"{folder}: its labels were made by another network ({found.made_by[:8]}) than this "
            f"run's ({made_by[:8]}): remove the folder, and they are made anew"
        )
    rows = {volume.name: volume for volume in shards.volumes}
    for name in names:
        if name not in found.volumes:
            raise BadInput(f"{folder}: no initial labels of {name}")
        if found.fingerprints[name] != rows[name].fingerprint:
            raise BadInput(
                f"{folder}: its labels of {name} are of other voxels than the shards hold now: "
                "remove the folder, and they are made anew"
            )
    return found


def load_probability(
    labels: InitialLabels, volume: Volume, slices: Sequence[int] | np.ndarray
) -> Float[np.ndarray, "n H W"]:
    """Read how probable the structure is in slices of a scan, on its own grid.

    Raises BadInput for a file that is damaged.
    """
    path = labels.folder / labels.volumes[volume.name]
    try:
        with np.load(path) as file:
            stored = np.stack([file[str(n)] for n in slices])  # and no other is decompressed
    except DAMAGED as error:
        raise BadInput(
            f"{path}: damaged ({error}); remove its folder, and the labels are made anew"
        ) from None
    return stored.astype(np.float32) / SUREST


def load_initial(
    labels: InitialLabels,
    shards: Shards,
    volume: int,
    slices: Sequence[int] | np.ndarray,
    *,
    size: int,
    spacing: float | None = None,
) -> tuple[UInt8[np.ndarray, "n S S"], Float[np.ndarray, "n S S"]]:
    """Read the initial masks of slices as a network sees them, and how sure of each pixel they are:
    0 where the structure is as likely as not, 1 where there is no doubt."""
    row = shards.volumes[volume]
    probability = load_probability(labels, row, slices)
    mask = (probability > 0.5).astype(np.uint8)
    masks = shards.preprocessing.masks(mask, size, row.grid, spacing=spacing)
    sure = resize_image(np.abs(2 * probability - 1), size, row.grid, spacing=spacing)
    return masks, sure
