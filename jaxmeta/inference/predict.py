"""Segment structures in one's own volumes, shown to a trained run in a few labelled slices, or
pointed at.

    python -m experiments.predict --run RUN --support IMAGE:LABEL[:VALUE] ... --image IMAGE [...]
    --output DIR python -m experiments.predict --run RUN --box X,Y,Z,X,Y,Z --image IMAGE --output
    DIR

Everything is as in a test: the same reading, intensities, slicing, adaptation and way back. Each
mask is saved on its image's own grid with its header, and is there whole or not at all. The second
form is for Segment Anything: a run of sam-tiny, or a folder of converted weights.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from scipy.special import expit

from jaxmeta.data.formats.formats import conversion
from jaxmeta.data.formats.nifti import read_image, save_mask, save_probability
from jaxmeta.data.grid import Grid, from_slices, restore, sliced_shape, spacing, to_slices
from jaxmeta.data.intensity import ends, native_input
from jaxmeta.data.names import case_stem, is_nifti
from jaxmeta.data.orientation import ACQUIRED
from jaxmeta.data.postprocess import highest, largest_components, predicted_labels
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.baselines import row_maker
from jaxmeta.evaluation.segmenter import draw_keys, together, whole_volume
from jaxmeta.evaluation.settings import Protocol, describe, method_setting
from jaxmeta.inference.notes import known_scans, nothing_found, teller
from jaxmeta.inference.prompts import open_network, parse_pointed, pointer
from jaxmeta.inference.scan import (
    Reading,
    check_rescale,
    measured,
    read_scan,
    reading_for,
    tell_channel,
    tell_notes,
    told,
)
from jaxmeta.inference.support import drawn_supports, padded, parsed, read_support
from jaxmeta.models.sam import Sam
from jaxmeta.models.sam.images import HIGH, LOW, Preprocessing, frame_of
from jaxmeta.progress import following, say, slow_start
from jaxmeta.reports import figures
from jaxmeta.runs import config_file
from jaxmeta.runs.build_sam import converted
from jaxmeta.runs.config import Config
from jaxmeta.runs.run import Run, open_run


@dataclass(frozen=True)
class Options:
    """Segment structures in one's own volumes."""

    run: Path
    """The run folder; to point, a run of sam-tiny or a folder that convert_sam wrote."""
    image: tuple[Path, ...]
    """Volumes to segment."""
    output: Path
    """Folder for the masks, each named like its image."""
    support: tuple[str, ...] = ()
    """Labelled volumes, as IMAGE:LABEL or IMAGE:LABEL:VALUE; without VALUE every label above 0."""
    structures: tuple[int, ...] = ()
    """Values of the support's labels that are a structure each: one mask holds them all, each voxel
    the value of the most probable."""
    box: tuple[str, ...] = ()
    """X,Y,Z,X,Y,Z: opposite corners of a box around a structure, in voxels of the file's array from
    0; it is segmented in each slice that the box crosses. VALUE:X,Y,Z,X,Y,Z says which value it has
    in the mask, so that one mask may hold several."""
    click: tuple[str, ...] = ()
    """X,Y,Z or VALUE:X,Y,Z: a voxel of a structure; its slice is segmented."""
    click_outside: tuple[str, ...] = ()
    """X,Y,Z or VALUE:X,Y,Z: a voxel beside the structure, for a slice that has a box or a click of
    it."""
    shots: int | None = None
    """Labelled slices to adapt to, evenly spaced among those that hold the structure; by default
    all of them (ssm-sam: 5, for it answers once for each)."""
    support_sets: int = 1
    """Adapt to so many draws of `shots` slices, and average what they give: the first is evenly
    spaced, the others are random."""
    probabilities: bool = False
    """Also save the probability of each structure, as NAME_prob_VALUE.nii.gz."""
    modality: Literal["ct", "mr"] | None = None
    """What the volumes are; needed where the run learned from both."""
    axis: Literal["acquired", "axial", "coronal", "sagittal"] | None = None
    """Which slices are cut; by default as those that the run learned from: "acquired", or one
    plane."""
    channel: str | None = None
    """Which channel of volumes that hold several, as (x, y, z, channel): NAME where a dataset.json
    beside declares names, or NUMBER from 0; by default the one that the run learned from."""
    fill_nan: float | None = None
    """Value for voxels that are NaN or Inf; without it they are refused."""
    rescale: tuple[str, ...] = ()
    """SLOPE,INTERCEPT that turn a CT's numbers to HU, for files in other units (1,-1024 where 1024
    was added); PATTERN=SLOPE,INTERCEPT for files that match."""
    largest_component: bool = False
    """Keep the largest connected piece of each mask: for a structure that is one body."""
    seed: int = 0
    """Of the adaptation, where the method draws anything."""


FEW = 5  # slices that SSM-SAM adapts to unless told otherwise: it answers once for each


def predict(options: Options) -> list[Path]:
    """Adapt to the support, then write a mask for every image; return the masks' paths."""
    check(options)
    pairs = [parsed(text) for text in options.support]
    masks = outputs(options, [path for image, label, _ in pairs for path in (image, label)])
    if not pairs:
        return point(options, masks)
    run = open_run(options.run)
    if run.config.tasks.as_uint8:
        raise BadInput(
            f"{options.run} learned from slices as pictures (--tasks.as-uint8), which is for "
            "comparison alone: train a run without it to predict"
        )
    run = prompted(run)
    reading = reading_for(run, **said(options))
    known = known_scans(run.provenance)
    alone = {image for image, _, _ in pairs}.difference(options.image)  # no mask is made of these
    how = dict(modality=options.modality, known=known, supports=alone)
    tell = teller(options.run, run.config, reading, **how)
    reading = reading._replace(tell=tell)
    scans = [*(image for image, _, _ in pairs), *options.image]
    check_rescale(scans, reading)
    tell_channel(scans, reading, options.channel)
    few = FEW if run.config.algorithm == "ssm-sam" else None
    how = dict(support_sets=options.support_sets, seed=options.seed, few=few)
    each = options.structures or (None,)
    supports = [
        drawn
        for value in each
        for drawn in drawn_supports(
            read_support(pairs, reading, value, tell=value == each[0]), options.shots, **how
        )
    ]
    shots = max(len(support.place) for support in supports)
    setting = method_setting(run, shots, Protocol(largest_component=options.largest_component))
    row = row_maker(run, len(supports))("adapted", "adapted", setting.finetune)
    print(f"adapting to {shots} slice(s) of {len(pairs)} volume(s): {describe(setting)}")
    overlay, pictures = options.output / "overlay.png", []
    with following("predict", "volume", len(options.image), first=slow_start()) as further:
        fitted = row.fit(together(padded(supports)), draw_keys(len(supports), options.seed))
        options.output.mkdir(parents=True, exist_ok=True)
        for image, path in zip(options.image, masks, strict=True):
            slices, grid = read_scan(image, reading)
            found = whole_volume(row, fitted, slices)
            found = found.reshape(-1, options.support_sets, *found.shape[1:]).mean(1)
            values = options.structures or (1,)
            how = dict(spacing=reading.mm, largest_component=options.largest_component)
            labels, whole = predicted_labels(found, values, grid, **how)
            save_found(path, labels, whole if options.probabilities else (), values, grid)
            highest = [float(each.max()) for each in whole]
            tell_empty(image, labels, values, highest, overlay)
            native = restore(slices[..., 0], grid, spacing=reading.mm)
            how = dict(several=len(values) > 1)
            pictures += [shown(image, native, labels == v, grid, v, **how) for v in values]
            further(more=1, note=image.name)
    figures.overlay(overlay, pictures)
    return masks


def prompted(run: Run) -> Run:
    """Let points come from the support's mask, where clicks on the truth are what a run was trained
    with."""
    how = run.config.prompted
    if how.prompt != "clicks":
        return run
    print("points on new slices come from the support's mask: clicks would lie on the truth")
    how = dataclasses.replace(how, prompt="support")
    return run._replace(config=dataclasses.replace(run.config, prompted=how))


def point(options: Options, masks: Sequence[Path]) -> list[Path]:
    """Segment what is pointed at in one volume."""
    (image,), (path,) = options.image, masks
    pointed = parse_pointed(options.box, options.click, options.click_outside)
    is_run = not converted(options.run)
    network, variables, preprocessing = open_network(options.run, is_run=is_run)
    reading = reading_to_point(options, is_run)
    check_rescale([image], reading)
    tell_channel([image], reading, options.channel)
    scan = read_image(image, **told(image, reading))
    tell_notes(scan)
    grid, intensity, scale = measured(image, scan, reading)
    tell_pointed(options, network, preprocessing, reading)(image, scan, grid)
    slices = native_input(to_slices(scan.values, grid), intensity, **scale)
    # published weights saw all greys; runs what `slices_as_colors` makes of the same slices
    window = (LOW, HIGH) if is_run else ends(intensity)
    segment = pointer(network, variables, preprocessing, window)
    try:
        with following("predict", "volume", first=slow_start()):
            numbers, logits = segment(slices, grid, tuple(pointed.values()))
    except BadInput as error:
        raise BadInput(f"{image}: {error}") from None
    labels = np.zeros(slices.shape[:3], np.uint16)
    labels[numbers] = highest(logits, tuple(pointed), above=0.0)
    labels = largest_components(labels) if options.largest_component else labels
    maps = (spread(expit(each), numbers, len(slices)) for each in logits)
    options.output.mkdir(parents=True, exist_ok=True)
    save_found(path, labels, maps if options.probabilities else (), tuple(pointed), grid)
    overlay = options.output / "overlay.png"
    tell_empty(image, labels, tuple(pointed), [expit(each.max()) for each in logits], overlay)
    how = dict(several=len(pointed) > 1)
    pictures = [shown(image, slices[..., 0], labels == v, grid, v, **how) for v in pointed]
    figures.overlay(overlay, pictures)
    return [path]


def tell_pointed(
    options: Options, network: Sam, preprocessing: Preprocessing, reading: Reading
) -> Callable:
    """Make what tells how a volume that is pointed into is read; converted weights saw what they
    saw."""
    size = network.size

    def seen_as(grid: Grid) -> tuple[float, float]:
        plane = sliced_shape(grid)[1:]
        inner = frame_of(
            *plane, size.image, patch=size.patch, stretched=preprocessing.stretched
        ).inner
        return tuple(n * mm / m for n, mm, m in zip(plane, spacing(grid)[1:], inner, strict=True))

    config = Config() if converted(options.run) else config_file.read(options.run)[0]
    return teller(options.run, config, reading, modality=options.modality, seen_as=seen_as)


def tell_empty(
    path: Path,
    labels: np.ndarray,
    values: Sequence[int],
    highest: Sequence[float],
    overlay: Path,
) -> None:
    """Tell of every structure of which nothing was found."""
    for value, most in zip(values, highest, strict=True):
        if not (labels == value).any():
            what = f"label {value}" if len(values) > 1 else "the structure"
            say(nothing_found(path, what, most, overlay))


def spread(slices: np.ndarray, numbers: Sequence[int], count: int) -> np.ndarray:
    """Put slices where they belong among so many, the others 0."""
    whole = np.zeros((count, *slices.shape[1:]), slices.dtype)
    whole[numbers] = slices
    return whole


def save_found(
    path: Path,
    labels: np.ndarray,
    probabilities: Iterable[np.ndarray],
    values: Sequence[int],
    grid: Grid,
) -> None:
    """Save a volume's mask, each structure's probability where they are given, and say how large
    they are."""
    save_mask(path, from_slices(labels, grid), grid)
    for value, each in zip(values, probabilities):
        beside = path.with_name(f"{path.name.removesuffix('.nii.gz')}_prob_{value}.nii.gz")
        save_probability(beside, from_slices(each, grid), grid)
    voxel = np.prod(spacing(grid)) / 1000
    for value in values:
        count = int((labels == value).sum())
        of = f", label {value}" if len(values) > 1 else ""
        say(f"{path}{of}: {count} voxels, {count * voxel:.1f} ml")


def reading_to_point(options: Options, is_run: bool) -> Reading:
    """Read a volume as a run of Segment Anything did, or as the command line says."""
    if is_run:
        reading = reading_for(open_run(options.run), **said(options))
        if reading.mm is not None:
            raise BadInput(
                f"{options.run} learned from slices of one --tasks.spacing: train without"
            )
        return reading
    if options.modality is None:
        raise BadInput(
            "converted weights do not say what the volume is: --modality ct or --modality mr"
        )
    return Reading(size=0, mm=None, **{"axis": ACQUIRED} | said(options))


def said(options: Options) -> dict[str, str | float | tuple[str, ...] | None]:
    """Gather what the command line says of how files are read."""
    names = ("modality", "axis", "channel", "fill_nan", "rescale")
    return {name: getattr(options, name) for name in names if getattr(options, name) is not None}


def check(options: Options) -> None:
    """Refuse what does not go together."""
    pointing = options.box + options.click + options.click_outside
    if bool(options.support) == bool(pointing):
        raise BadInput(
            "give --support, or --box and --click: labelled slices, or a structure pointed at"
        )
    if pointing and len(options.image) > 1:
        raise BadInput("--box and --click point into one volume: give one --image")
    usual = Options(run=options.run, image=(), output=options.output)
    for name in ("structures", "shots", "support_sets") if pointing else ():
        if getattr(options, name) != getattr(usual, name):
            raise BadInput(f"--{name}: it is for --support")
    if options.support_sets < 1:
        raise BadInput(f"--support-sets {options.support_sets}: must be at least 1")
    if options.support_sets > 1 and options.shots is None:
        raise BadInput("--support-sets needs --shots: draws of all slices are all the same")
    if len(set(options.structures)) < len(options.structures) or 0 in options.structures:
        raise BadInput(
            f"--structures {' '.join(map(str, options.structures))}: each once, and never 0"
        )
    if options.structures and any(parsed(text)[2] is not None for text in options.support):
        raise BadInput("--structures with --support IMAGE:LABEL:VALUE: leave VALUE out")


def outputs(options: Options, inputs: Sequence[Path]) -> list[Path]:
    """Name the masks, refusing what is missing and what would be written over."""
    inputs = [*inputs, *options.image]
    for path in inputs:
        if not path.is_file():
            raise BadInput(f"{path}: there is no such file")
    for path in options.image:
        if not is_nifti(path):
            raise BadInput(f"{path}: not a NIfTI file; {conversion(path)}")
    masks = [options.output / f"{case_stem(image)}.nii.gz" for image in options.image]
    for number, mask in enumerate(masks):
        if mask in masks[:number]:
            raise BadInput(
                f"two images would both be {mask}: predict them into folders of their own"
            )
        if any(mask.resolve() == path.resolve() for path in inputs):
            raise BadInput(f"{mask} is one of the inputs: give another --output")
    return masks


def shown(path: Path, slices, mask, grid: Grid, value: int, *, several: bool) -> figures.Picture:
    """Show the slice, counted from 0, with most of a structure."""
    number = int(mask.sum((1, 2)).argmax())
    title = f"{case_stem(path)}, slice {number}" + (f", label {value}" if several else "")
    nothing = np.zeros_like(mask[0])
    return figures.Picture(title, slices[number], nothing, mask[number], spacing(grid)[1:])
