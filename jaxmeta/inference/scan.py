"""Read one's own files as shards are read: for `predict`.

How slices are cut, windowed, resized and normalized is what a run learned from (`run_reading.py`),
or what the support is (`untrained.py`); what that leaves open, the command line says. It is done by
what prepares and loads shards, too (`data/scan.py`).
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32

from jaxmeta.data.channels import channel_count, channel_number, chosen
from jaxmeta.data.formats.formats import case_stem
from jaxmeta.data.formats.image import Image, read_image, shape_of
from jaxmeta.data.grid import grid_by
from jaxmeta.data.layouts.layouts import channels_beside
from jaxmeta.data.orientation import frames_from_text, nearest_frame
from jaxmeta.data.rules import rescale_rule, scale_for
from jaxmeta.data.scan import Scan, network_input, scan_of
from jaxmeta.errors import BadInput
from jaxmeta.progress import say


class Reading(NamedTuple):
    """How files become network input."""

    size: int  # pixels of a side
    mm: float | None  # of a pixel; None: slices are stretched to the square
    axis: str  # the rule by which volumes are cut
    modality: str
    fill_nan: float | None = None
    channel: str | None = None  # name or number, of volumes that hold several
    frames: tuple[str, ...] = ()  # in which slices are shown; without any, each as its own plane
    rescale: tuple[
        str, ...
    ] = ()  # SLOPE,INTERCEPT or PATTERN=...: the files' matter, not the run's
    tell: Callable[[Path, Scan], None] = lambda *scan: None  # how each file was read


def tell_channel(images: Sequence[Path], reading: Reading, asked: str | None) -> None:
    """Print which channel is read, where there is a choice; refuse a choice where there is none.

    Where a choice is missing it is asked for now, not behind the adaptation.
    """
    several = [image for image in images if channel_count(shape_of(image)) > 1]
    for image in several:
        told(image, reading)
    if asked is not None and not several:
        raise BadInput(f"`channel={asked}`: no image holds several channels")
    if reading.channel is not None and several:
        say(f"reading channel {reading.channel} of {len(several)} volume(s) that hold several")


def check_rescale(images: Sequence[Path], reading: Reading) -> None:
    """Refuse a `rescale` that applies to none of the files, before anything is computed."""
    rules, used = [rescale_rule(text) for text in reading.rescale], set()
    if rules and reading.modality != "ct":
        raise BadInput(f"`rescale={rules[0].text}`: it is for CT, and these are read as mr")
    for image in images:
        scale_for(rules, "", case_stem(image), image, used)
    for rule in rules:
        if rule not in used:
            raise BadInput(f"`rescale={rule.text}`: no file matches {rule.pattern or 'it'}")


def read_scan(path: Path, reading: Reading) -> Scan:
    """Read a volume; print how, and what is odd about it.

    Raises BadInput, with the file's name, for one that cannot be used.
    """
    image = read_image(path, **told(path, reading))
    tell_notes(image)
    return as_scan(path, image, reading)


def seen(
    scan: Scan, reading: Reading, slices: Sequence[int] | np.ndarray | None = None
) -> Float32[np.ndarray, "N S S 1"]:
    """Give slices, or all, as the run's network sees them."""
    slices = range(len(scan.values)) if slices is None else slices
    return network_input(scan, slices, reading.size, reading.mm)


def tell_notes(image: Image) -> None:
    """Print what is odd about a file that is read all the same."""
    for note in image.notes:
        say(f"note: {note.text}")


def told(path: Path, reading: Reading) -> dict:
    """Give what `read_image` wants to be told of a file: its channel by number, and their names.

    Raises BadInput where the file holds several channels and none is chosen.
    """
    names, shape = channels_beside(path), shape_of(path)
    channel = None
    if channel_count(shape) > 1:
        if reading.channel is not None:
            channel = channel_number(reading.channel, channel_count(shape), names, path)
        chosen(shape, channel, names, path)
    return {"fill_nan": reading.fill_nan, "channel": channel, "channels": names}


def as_scan(path: Path, image: Image, reading: Reading) -> Scan:
    """Place an image among the frames that a run learned from, choose its window, and tell how.

    Raises BadInput, with the file's name, for a CT of which the window shows nothing.
    """
    shape, rule = image.values.shape, reading.axis
    frame, _ = nearest_frame(shape, image.affine, rule, frames_from_text(reading.frames))
    grid = grid_by(rule, shape, image.affine, image.header, frame)
    rules = [rescale_rule(text) for text in reading.rescale]
    rescale = scale_for(rules, "", case_stem(path), path, set())
    scan = scan_of(image, grid, reading.modality, file=path, rescale=rescale)
    reading.tell(path, scan)
    return scan
