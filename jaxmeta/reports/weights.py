"""What bootstrapping made of labels that were guessed: how good they were before and after, of some
slices the labels themselves, and what each of their pixels counted, while it learned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float
from matplotlib.figure import Figure
from skimage.measure import find_contours

from jaxmeta.data.shards.load import load_masks
from jaxmeta.evaluation.intervals import number
from jaxmeta.files import beside
from jaxmeta.metrics.overlap import dice, overlap
from jaxmeta.reports.figures import PREDICTED, TRUTH
from jaxmeta.runs.build import open_data
from jaxmeta.runs.config_file import read_run
from jaxmeta.runs.train import WATCHED

SLICES, STEPS = 4, 3  # shown at most
CAPTION = (
    "Slices that nobody labelled, while the run learned: their initial labels, those of its looks "
    "together and the student's own (red; green the truth that it never saw, where the shards hold "
    "one), then what each pixel of the initial label counted (red) and of the looks' label (blue): "
    "brighter is more."
)
INITIAL, ENHANCED, STUDENT = "initial label", "looks together", "the student"


Truths = Mapping[str, Bool[np.ndarray, "S S"]]  # by the slice's name


class Watched(NamedTuple):
    """What a run kept of N slices."""

    step: int
    image: Float[np.ndarray, "N S S"]
    probability: Float[np.ndarray, "N S S"]  # the student's
    labels: Bool[np.ndarray, "N S S L"]  # initial ones, then the ensemble's
    weight: Float[np.ndarray, "N S S L"]
    slices: Sequence[str]  # "la2018/06SR5RBREL16DQ6M8LWS:12"


def draw(path: Path, kept: Sequence[Watched], truth: Truths) -> None:
    """Draw it, where a run has kept anything."""
    if not kept:
        return
    times = [kept[n] for n in dict.fromkeys(np.linspace(0, len(kept) - 1, STEPS).astype(int))]
    last = times[-1]
    order = np.argsort(-last.labels[..., 0].sum((1, 2)), kind="stable")[:SLICES]
    found = found_by(last)
    heads = [*found, *(f"weight, step {each.step}" for each in times)]
    figure = Figure(figsize=(2.3 * len(heads), 2.5 * len(order)), layout="constrained")
    axes = figure.subplots(len(order), len(heads), squeeze=False)
    for row, slice_ in zip(axes, order, strict=True):
        image, own = last.image[slice_], truth.get(last.slices[slice_])
        for axis, (head, masks) in zip(row, found.items(), strict=False):
            mask = masks[slice_]
            told = "" if own is None else f"\nDice {number(dice(overlap(mask, own)))}"
            outlined(axis, image, [(own, TRUTH), (mask, PREDICTED)])
            axis.set_title(f"{head}{told}", fontsize=7)
        for axis, each in zip(row[len(found) :], times, strict=True):
            weight = each.weight[slice_]
            colors = np.zeros((*image.shape, 3))
            colors[..., 0] = weight[..., 0]
            colors[..., 2] = weight[..., 1:].sum(-1)
            shown = np.sqrt(colors / max(colors.max(), 1e-12))
            axis.imshow(shown.transpose(1, 0, 2), origin="lower")
            outlined(axis, None, [(own, TRUTH)])
            axis.set_title(f"weight, step {each.step}", fontsize=7)
        row[0].set_ylabel(last.slices[slice_].rpartition("/")[2], fontsize=6)
    with beside(path) as part:
        figure.savefig(part, dpi=110, format="png")


def quality(kept: Sequence[Watched], truth: Truths) -> list[list[str]]:
    """Lay out how good the labels of these slices were after so many steps: the Dice of all their
    pixels together; empty where nobody kept them, or nobody knows the truth."""
    if not kept or not truth:
        return []
    cells = [[f"Dice of {len(truth)} unlabelled slices, step", *found_by(kept[-1])]]
    for each in kept:
        places = {name: n for n, name in enumerate(each.slices)}  # few slices are seen twice
        known = [n for name, n in places.items() if name in truth]
        own = np.stack([truth[each.slices[n]] for n in known])
        dices = (dice(overlap(masks[known], own)) for masks in found_by(each).values())
        cells.append([str(each.step), *map(number, dices)])
    return cells


def kept_of(run: Path) -> list[Watched]:
    """Read what a run kept of labels that weigh, by step."""
    kept = [read(file) for file in (run / WATCHED).glob("*.npz")]
    return sorted((each for each in kept if each.labels.shape[-1]), key=lambda each: each.step)


def found_by(watched: Watched) -> dict[str, Bool[np.ndarray, "N S S"]]:
    """Give what was found in the slices, by whom."""
    together = {ENHANCED: watched.labels[..., 1] > 0} if watched.labels.shape[-1] > 1 else {}
    return {INITIAL: watched.labels[..., 0] > 0} | together | {STUDENT: watched.probability > 0.5}


def outlined(axis, image, masks) -> None:
    """Draw a slice, if there is one, with the contours of masks, those that are None left out."""
    if image is not None:
        axis.imshow(image.T, cmap="gray", origin="lower")
    for mask, color in masks:
        for contour in () if mask is None else find_contours(np.pad(mask, 1).astype(float), 0.5):
            axis.plot(contour[:, 0] - 1, contour[:, 1] - 1, color=color, linewidth=0.8)
    axis.set_xticks([])
    axis.set_yticks([])
    axis.set_xlim(axis.get_xlim()[::-1])


def read(path: Path) -> Watched:
    """Read what was kept at one step."""
    with np.load(path) as file:
        held = {name: file[name] for name in file.files}
    names = [str(name) for name in held.pop("slices")]
    return Watched(int(path.stem), slices=names, **held)


def truths(run: Path, kept: Sequence[Watched]) -> Truths:
    """Read what the shards hold of the slices that a run kept, for somebody to look at."""
    if not kept:
        return {}
    config, _ = read_run(run)
    shards = open_data(config)
    rows = {volume.name: place for place, volume in enumerate(shards.volumes)}
    found = {}
    for name in kept[-1].slices:
        scan, _, at = name.rpartition(":")
        volume = rows.get(scan)
        if volume is None or config.organ not in shards.volumes[volume].counts:
            continue
        how = dict(size=config.tasks.size, spacing=config.tasks.mm)
        found[name] = load_masks(shards, volume, [int(at)], config.organ, **how)[0] > 0
    return found
