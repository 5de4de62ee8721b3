"""Read one's own files as a run reads its shards: for `predict`.

How slices are cut, windowed, resized and normalised is what the run learned from; what that leaves
open, the command line says.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.runs.opened import Run
from jaxmeta.data.channels import channel_count, chosen, numbered
from jaxmeta.data.grid import Grid, to_slices
from jaxmeta.data.identity import fingerprint
from jaxmeta.data.intensity import Intensity, measure, network_input
from jaxmeta.data.layouts import channels_beside
from jaxmeta.data.nifti import Image, read_image
from jaxmeta.data.nifti_bytes import shape_of
from jaxmeta.errors import BadInput


class Reading(NamedTuple):
    """How files become network input."""

    size: int
    mm: float | None
    axis: str
    modality: str
    nan_to: float | None = None
    channel: str | None = None  # name or number, of volumes that hold several
    known: Mapping[str, str] = {}  # fingerprint -> what is said of a scan that the run has seen
    said: set[str] | None = None  # of which files it was said already


def reading_for(
    run: Run,
    *,
    modality: str | None = None,
    axis: str | None = None,
    channel: str | None = None,
    nan_to: float | None = None,
) -> Reading:
    """Read files as the run's training data was read, or as told.

    Raises BadInput where the run learned from both CT and MR, and nothing says which it is.
    """
    config, tasks = run.config, run.config.tasks
    modality = modality or config.modality
    if modality is None:
        raise BadInput(f"{run.folder} learned from ct and mr: say --modality ct or --modality mr")
    channel = config.channel if channel is None else channel  # without: a file of several asks
    known = {
        same: f"is {name}, voxel for voxel, which {seen.by} was {seen.how}: what it makes of it says "
        "nothing of new scans"
        for seen in reversed(run.provenance)
        for same, name in seen.contents.items()
    }
    return Reading(
        tasks.size, tasks.spacing, axis or config.axis, modality, nan_to, channel, known, set()
    )


def tell_known(path: Path, scan: Image, reading: Reading) -> None:
    """Print, once a file, that the run has seen a scan; predictions are no scores, so nothing is refused."""
    if not reading.known or str(path) in reading.said:
        return
    if text := reading.known.get(fingerprint(scan.values)):
        reading.said.add(str(path))
        print(f"note: {path} {text}")


def tell_channel(images: Sequence[Path], reading: Reading, asked: str | None) -> None:
    """Print which channel is read, where there is a choice; refuse a choice where there is none.

    Where a choice is missing it is asked for now, not behind the adaptation.
    """
    several = [image for image in images if channel_count(shape_of(image)) > 1]
    for image in several:
        told(image, reading)
    if asked is not None and not several:
        raise BadInput(f"--channel {asked}: no image holds several channels")
    if reading.channel is not None and several:
        print(f"reading channel {reading.channel} of {len(several)} volume(s) that hold several")


def read_scan(path: Path, reading: Reading) -> tuple[Float[np.ndarray, "N S S 1"], Grid]:
    """Read a volume as slices ready for the network, and its grid."""
    return as_input(path, read_image(path, **told(path, reading)), reading)


def told(path: Path, reading: Reading) -> dict:
    """Give what `read_image` wants to be told of a file: its channel by number, and their names."""
    names, shape = channels_beside(path), shape_of(path)
    channel = None
    if channel_count(shape) > 1:
        if reading.channel is not None:
            channel = numbered(reading.channel, channel_count(shape), names, path)
        chosen(shape, channel, names, path)
    return {"nan_to": reading.nan_to, "channel": channel, "channels": names}


def as_input(
    path: Path, scan: Image, reading: Reading
) -> tuple[Float[np.ndarray, "N S S 1"], Grid]:
    """Cut, window, resize and normalise a volume as shards do."""
    grid, intensity, scale = measured(path, scan, reading)
    slices = to_slices(scan.values, grid)
    size = {"size": reading.size, "spacing": reading.mm}
    return network_input(slices, grid, intensity, **size, **scale), grid


def measured(path: Path, scan: Image, reading: Reading) -> tuple[Grid, Intensity, dict[str, float]]:
    """Place a volume, choose its window, and give its scale; say so where the run has seen it."""
    tell_known(path, scan, reading)
    grid = Grid(scan.values.shape, scan.affine, scan.header, reading.axis)
    scale = {"slope": scan.slope, "intercept": scan.intercept}
    try:
        return grid, measure(scan.values, reading.modality, **scale), scale
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
