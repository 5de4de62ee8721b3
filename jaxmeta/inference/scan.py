"""Read one's own files as a run reads its shards: for `predict`.

How slices are cut, windowed, resized and normalized is what the run learned from; what that leaves
open, the command line says.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from jaxmeta.data.channels import channel_count, chosen, numbered
from jaxmeta.data.formats.nifti import Image, read_image, rescaled
from jaxmeta.data.formats.nifti_bytes import shape_of
from jaxmeta.data.grid import Grid, grid_by, to_slices
from jaxmeta.data.intensity import Intensity, measure, network_input
from jaxmeta.data.layouts.layouts import channels_beside
from jaxmeta.data.names import case_stem
from jaxmeta.data.orientation import frames_from_text, nearest_frame
from jaxmeta.data.rules import rescale_rule, scale_for
from jaxmeta.errors import BadInput
from jaxmeta.progress import say
from jaxmeta.runs.run import Run


class Reading(NamedTuple):
    """How files become network input."""

    size: int
    mm: float | None
    axis: str  # the rule by which volumes are cut
    modality: str
    fill_nan: float | None = None
    channel: str | None = None  # name or number, of volumes that hold several
    frames: tuple[str, ...] = ()  # in which slices are shown; without any, each as its own plane
    rescale: tuple[
        str, ...
    ] = ()  # SLOPE,INTERCEPT or PATTERN=...: the files' matter, not the run's
    tell: Callable[[Path, Image, Grid], None] = lambda *scan: None  # how each file was read


def reading_for(
    run: Run,
    *,
    modality: str | None = None,
    axis: str | None = None,
    channel: str | None = None,
    fill_nan: float | None = None,
    rescale: Sequence[str] = (),
) -> Reading:
    """Read files as the run's training data was read, or as told.

    Raises BadInput where the run learned from both CT and MR, and nothing says which it is.
    """
    config, tasks = run.config, run.config.tasks
    modality = modality or config.modality
    if modality is None:
        raise BadInput(f"{run.folder} learned from ct and mr: say --modality ct or --modality mr")
    channel = config.channel if channel is None else channel  # without: a file of several asks
    axis = axis or config.axis
    frames = config.frames if axis == config.axis else ()
    how = dict(fill_nan=fill_nan, channel=channel, frames=frames, rescale=tuple(rescale))
    return Reading(tasks.size, tasks.spacing, axis, modality, **how)


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


def check_rescale(images: Sequence[Path], reading: Reading) -> None:
    """Refuse a --rescale that applies to none of the files, before anything is computed."""
    rules, used = [rescale_rule(text) for text in reading.rescale], set()
    if rules and reading.modality != "ct":
        raise BadInput(f"--rescale {rules[0].text}: it is for CT, and these are read as mr")
    for image in images:
        scale_for(rules, "", case_stem(image), image, used)
    for rule in rules:
        if rule not in used:
            raise BadInput(f"--rescale {rule.text}: no file matches {rule.pattern or 'it'}")


def read_scan(path: Path, reading: Reading) -> tuple[Float[np.ndarray, "N S S 1"], Grid]:
    """Read a volume as slices ready for the network, and its grid; print what is odd about it."""
    scan = read_image(path, **told(path, reading))
    tell_notes(scan)
    return as_input(path, scan, reading)


def tell_notes(scan: Image) -> None:
    """Print what is odd about a file that is read all the same."""
    for note in scan.notes:
        say(f"note: {note.text}")


def told(path: Path, reading: Reading) -> dict:
    """Give what `read_image` wants to be told of a file: its channel by number, and their names."""
    names, shape = channels_beside(path), shape_of(path)
    channel = None
    if channel_count(shape) > 1:
        if reading.channel is not None:
            channel = numbered(reading.channel, channel_count(shape), names, path)
        chosen(shape, channel, names, path)
    return {"fill_nan": reading.fill_nan, "channel": channel, "channels": names}


def as_input(
    path: Path, scan: Image, reading: Reading
) -> tuple[Float[np.ndarray, "N S S 1"], Grid]:
    """Cut, window, resize and normalize a volume as shards do."""
    grid, intensity, scale = measured(path, scan, reading)
    reading.tell(path, scan, grid)
    slices = to_slices(scan.values, grid)
    size = {"size": reading.size, "spacing": reading.mm}
    return network_input(slices, grid, intensity, **size, **scale), grid


def measured(path: Path, scan: Image, reading: Reading) -> tuple[Grid, Intensity, dict[str, float]]:
    """Place a volume, choose its window, and give its scale."""
    shape, rule = scan.values.shape, reading.axis
    frame, _ = nearest_frame(shape, scan.affine, rule, frames_from_text(reading.frames))
    grid = grid_by(rule, shape, scan.affine, scan.header, frame)
    rules = [rescale_rule(text) for text in reading.rescale]
    told_units = scale_for(rules, "", case_stem(path), path, set())
    scan = rescaled(scan, told_units)
    scale = {"slope": scan.slope, "intercept": scan.intercept}
    try:
        sure = told_units is not None
        return grid, measure(scan.values, reading.modality, sure=sure, **scale), scale
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
