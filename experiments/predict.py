"""Segment a structure in one's own volumes, shown to a trained run in a few labelled slices.

    python -m experiments.predict --run RUN --support IMAGE:LABEL[:VALUE] ... --image IMAGE [...] --output DIR

Everything is as in a test: the same reading, intensities, slicing, adaptation and way back. Each mask
is saved on its image's own grid with its header, and is there whole or not at all.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tyro
from tqdm import tqdm

from experiments.command import run as run_command
from experiments.rows import row_maker
from experiments.runs import Run, open_run
from experiments.tuning import Protocol, describe, method_setting
from jaxmeta import devices, report
from jaxmeta.data.channels import channel_count, chosen, numbered
from jaxmeta.data.grid import Grid, from_slices, resize_mask, restore, spacing, to_slices
from jaxmeta.data.intensity import measure, network_input
from jaxmeta.data.layouts import channels_beside
from jaxmeta.data.names import case_stem
from jaxmeta.data.nifti import read_image, read_pair, save_mask
from jaxmeta.data.nifti_bytes import shape_of
from jaxmeta.data.prediction import predicted_mask
from jaxmeta.data.shards import open_shards
from jaxmeta.errors import BadInput
from jaxmeta.evaluate import draw_keys, together, whole_volume
from jaxmeta.tasks.task import Examples
from jaxmeta.tasks.trial import Support, places


@dataclass(frozen=True)
class Options:
    """Segment a structure in one's own volumes, shown to a trained run in a few labelled slices."""

    run: Path
    """The run folder."""
    support: tuple[str, ...]
    """Labelled volumes, as IMAGE:LABEL or IMAGE:LABEL:VALUE; without VALUE every label above 0."""
    image: tuple[Path, ...]
    """Volumes to segment."""
    output: Path
    """Folder for the masks, each named like its image."""
    shots: int | None = None
    """Labelled slices to adapt to, evenly spaced among those that hold the structure; by default
    all of them."""
    modality: Literal["ct", "mr"] | None = None
    """What the volumes are; needed where the run learned from both."""
    axis: Literal["axial", "coronal", "sagittal"] | None = None
    """Which slices are cut; by default those that the run learned from."""
    channel: str | None = None
    """Which channel of volumes that hold several, as (x, y, z, channel): NAME where a dataset.json
    beside declares names, or NUMBER from 0; by default the one that the run learned from."""
    nan_to: float | None = None
    """Value for voxels that are NaN or Inf; without it they are refused."""
    largest_piece: bool = False
    """Keep the largest connected piece of each mask: for a structure that is one body."""
    seed: int = 0
    """Of the adaptation, where the method draws anything."""


class Reading(NamedTuple):
    """How files become network input."""

    size: int
    mm: float | None
    axis: str
    modality: str
    nan_to: float | None
    channel: str | None = None  # name or number, of volumes that hold several


def main() -> None:
    """Parse and predict."""
    options = tyro.cli(Options, description=__doc__)
    devices.begin(options.run.resolve().parent / ".compiled")
    predict(options)


def predict(options: Options) -> list[Path]:
    """Adapt to the support, then write a mask for every image; return the masks' paths."""
    pairs = [parsed(text) for text in options.support]
    masks = outputs(options, [path for image, label, _ in pairs for path in (image, label)])
    run = open_run(options.run)
    if run.config.tasks.as_pictures:
        raise BadInput(
            f"{options.run} learned from slices as pictures (--tasks.as-pictures), which is for comparison "
            "alone: train a run without it to predict"
        )
    reading = reading_for(run, options)
    tell_channel([*(image for image, _, _ in pairs), *options.image], reading, options)
    support = read_support(pairs, reading, options.shots)
    shots = len(support.place)
    setting = method_setting(run, shots, Protocol(largest_piece=options.largest_piece))
    row = row_maker(run, 1)("adapted", "adapted", setting.finetune)
    print(f"adapting to {shots} slices of {len(pairs)} volume(s): {describe(setting)}")
    fitted = row.fit(together([support]), draw_keys(1, options.seed))
    options.output.mkdir(parents=True, exist_ok=True)
    pictures = []
    for image, path in zip(tqdm(options.image, unit="volume", disable=None), masks, strict=True):
        slices, grid = read_scan(image, reading)
        probability = whole_volume(row, fitted, slices)[0]
        mask = predicted_mask(
            probability, grid, spacing=reading.mm, largest_piece=options.largest_piece
        )
        save_mask(path, from_slices(mask.astype(np.uint8), grid), grid)
        millilitres = mask.sum() * np.prod(spacing(grid)) / 1000
        tqdm.write(f"{path}: {mask.sum()} voxels, {millilitres:.1f} ml")
        pictures.append(shown(image, slices, mask, grid, reading))
    report.overlay(options.output / "overlay.png", pictures)
    return masks


def parsed(text: str) -> tuple[Path, Path, int | None]:
    """Read IMAGE:LABEL[:VALUE]."""
    match = re.fullmatch(r"(.+?\.nii(?:\.gz)?):(.+?\.nii(?:\.gz)?)(?::(\d+))?", text)
    if not match:
        raise BadInput(f"--support {text}: write IMAGE.nii.gz:LABEL.nii.gz or ...:VALUE")
    image, label, value = match.groups()
    return Path(image), Path(label), None if value is None else int(value)


def outputs(options: Options, inputs: Sequence[Path]) -> list[Path]:
    """Name the masks, refusing what is missing and what would be written over."""
    inputs = [*inputs, *options.image]
    for path in inputs:
        if not path.is_file():
            raise BadInput(f"{path}: there is no such file")
    for path in options.image:
        if not path.name.endswith((".nii", ".nii.gz")):
            raise BadInput(f"{path}: not a NIfTI file; its name must end in .nii or .nii.gz")
    masks = [options.output / f"{case_stem(image)}.nii.gz" for image in options.image]
    for number, mask in enumerate(masks):
        if mask in masks[:number]:
            raise BadInput(
                f"two images would both be {mask}: predict them into folders of their own"
            )
        if any(mask.resolve() == path.resolve() for path in inputs):
            raise BadInput(f"{mask} is one of the inputs: give another --output")
    return masks


def reading_for(run: Run, options: Options) -> Reading:
    """Read files as the run's training data was read; ask where that does not say enough."""
    volumes = open_shards(run.config.data).volumes
    modality, channel = options.modality, options.channel
    if channel is None:  # of several none is more right: then the file that holds several asks
        channels = {volume.channel for volume in volumes}
        channel = channels.pop() if len(channels) == 1 else None
    if modality is None:
        known = {volume.modality for volume in volumes}
        if len(known) > 1:
            raise BadInput(
                f"{run.folder} learned from ct and mr: say --modality ct or --modality mr"
            )
        (modality,) = known
    tasks = run.config.tasks
    axis = options.axis or run.config.axis
    return Reading(tasks.size, tasks.spacing, axis, modality, options.nan_to, channel)


def tell_channel(images: Sequence[Path], reading: Reading, options: Options) -> None:
    """Print which channel is read, where there is a choice; refuse a choice where there is none.

    Where a choice is missing it is asked for now, not behind the adaptation.
    """
    several = [image for image in images if channel_count(shape_of(image)) > 1]
    for image in several:
        told(image, reading)
    if options.channel is not None and not several:
        raise BadInput(f"--channel {options.channel}: no image holds several channels")
    if reading.channel is not None and several:
        print(f"reading channel {reading.channel} of {len(several)} volume(s) that hold several")


def read_support(
    pairs: Sequence[tuple[Path, Path, int | None]], reading: Reading, shots: int | None
) -> Support:
    """Read all labelled slices that hold the structure, or `shots` of them evenly spaced."""
    parts, names = [], []
    for image, label, value in pairs:
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
    if shots is not None and not 0 < shots <= len(image):
        raise BadInput(f"--shots {shots}: the support has {len(image)} slices with the structure")
    kept = np.linspace(0, len(image) - 1, shots or len(image)).round().astype(int)
    examples = Examples(image[kept], mask[kept], np.ones(len(kept), bool))
    patients = tuple(str(image) for image, _, _ in pairs)
    return Support(examples, place[kept], patients, tuple(names[n] for n in kept))


def read_scan(path: Path, reading: Reading) -> tuple[np.ndarray, Grid]:
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


def as_input(path: Path, scan, reading: Reading) -> tuple[np.ndarray, Grid]:
    """Cut, window, resize and normalise a volume as shards do."""
    grid = Grid(scan.values.shape, scan.affine, scan.header, reading.axis)
    scale = {"slope": scan.slope, "intercept": scan.intercept}
    try:
        intensity = measure(scan.values, reading.modality, **scale)
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None
    slices = to_slices(scan.values, grid)
    size = {"size": reading.size, "spacing": reading.mm}
    return network_input(slices, grid, intensity, **size, **scale), grid


def shown(path: Path, slices, mask, grid: Grid, reading: Reading) -> report.Picture:
    """Show the slice with most of the structure, as the network saw it."""
    number = int(mask.sum((1, 2)).argmax())
    image = restore(slices[number : number + 1, ..., 0], grid, spacing=reading.mm)[0]
    title = f"{case_stem(path)}, slice {number}"
    return report.Picture(title, image, np.zeros_like(mask[0]), mask[number], spacing(grid)[1:])


if __name__ == "__main__":
    run_command(main)
