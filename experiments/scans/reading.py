"""Read one's own files as a run reads its shards: for `predict`.

How slices are cut, windowed, resized and normalised is what the run learned from; what that leaves
open, the command line says.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from experiments.runs.opened import Run
from jaxmeta.data.channels import channel_count, chosen, numbered
from jaxmeta.data.grid import Grid, resize_mask, to_slices
from jaxmeta.data.intensity import Intensity, measure, network_input
from jaxmeta.data.layouts import channels_beside
from jaxmeta.data.nifti import Image, read_image, read_pair
from jaxmeta.data.nifti_bytes import shape_of
from jaxmeta.errors import BadInput
from jaxmeta.tasks.task import Examples
from jaxmeta.tasks.trial import Support, places

Pair = tuple[Path, Path, int | None]  # image, label, value


class Reading(NamedTuple):
    """How files become network input."""

    size: int
    mm: float | None
    axis: str
    modality: str
    nan_to: float | None = None
    channel: str | None = None  # name or number, of volumes that hold several


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
    return Reading(tasks.size, tasks.spacing, axis or config.axis, modality, nan_to, channel)


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


def parsed(text: str) -> Pair:
    """Read IMAGE:LABEL[:VALUE]."""
    match = re.fullmatch(r"(.+?\.nii(?:\.gz)?):(.+?\.nii(?:\.gz)?)(?::(\d+))?", text)
    if not match:
        raise BadInput(f"--support {text}: write IMAGE.nii.gz:LABEL.nii.gz or ...:VALUE")
    image, label, value = match.groups()
    return Path(image), Path(label), None if value is None else int(value)


def read_support(pairs: Sequence[Pair], reading: Reading, structure: int | None = None) -> Support:
    """Read all labelled slices that hold the structure: of this label, or of each pair's own."""
    parts, names = [], []
    for image, label, value in pairs:
        value = value if structure is None else structure
        scan, labels = read_pair(image, label, **told(image, reading))
        here = labels > 0 if value is None else labels == value
        if not here.any():
            found = ", ".join(map(str, np.unique(labels)[:20]))
            what = "above 0" if value is None else f"equal to {value}"
            raise BadInput(f"{label}: no voxel is {what}, so it shows no structure; it has {found}")
        slices, grid = as_input(image, scan, reading)
        native = to_slices(here.astype(np.uint8), grid)
        held = np.flatnonzero(native.any((1, 2)))
        mask = resize_mask(native[held], reading.size, grid, spacing=reading.mm)
        parts.append((slices[held], mask, places(len(slices))[held]))
        names += [f"{image}:{number}" for number in held]
    image, mask, place = (np.concatenate(each) for each in zip(*parts, strict=True))
    shows = mask.any((1, 2))
    if not shows.any():
        raise BadInput(
            f"{pairs[0][1]}: the structure is too small to be seen at the run's {reading.size} pixels; "
            "train with a larger --tasks.size, or finer --tasks.spacing"
        )
    image, mask, place = image[shows], mask[shows], place[shows]
    names = [name for name, kept in zip(names, shows, strict=True) if kept]
    examples = Examples(image, mask, np.ones(len(image), bool))
    return Support(examples, place, tuple(str(image) for image, _, _ in pairs), tuple(names))


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
    """Place a volume, choose its window, and give its scale."""
    grid = Grid(scan.values.shape, scan.affine, scan.header, reading.axis)
    scale = {"slope": scan.slope, "intercept": scan.intercept}
    try:
        return grid, measure(scan.values, reading.modality, **scale), scale
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
