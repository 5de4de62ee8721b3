"""The slices of a case that somebody should look at."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float

from jaxmeta.data.grid import restore, sliced_shape, spacing
from jaxmeta.data.shards.load import load_images
from jaxmeta.data.shards.shards import Shards
from jaxmeta.evaluation.intervals import number as written
from jaxmeta.evaluation.scoring import Score
from jaxmeta.evaluation.trial import Query


class Picture(NamedTuple):
    """One slice with its truth and its prediction, in the order of the sliced volume."""

    title: str
    image: Float[np.ndarray, "X Y"]
    target: Bool[np.ndarray, "X Y"]
    predicted: Bool[np.ndarray, "X Y"]
    spacing: tuple[float, float]  # mm along X, along Y


def pictures_of(
    shards: Shards, score: Score, query: Query, mask: np.ndarray
) -> tuple[Picture, ...]:
    """Show the slice that holds most of the structure, and the one with most false voxels, if it is
    another.

    Where most of the organ is, a method is at its best: what it marks elsewhere is seen in no such
    slice.
    """
    fullest = int(query.target.sum((1, 2)).argmax())
    number, what = most_false(query.target, mask)
    first = f"{score.organ}, {score.case}\nDice {written(score.dice)}, slice"
    titles = {fullest: f"{first} {query.first + fullest}"}
    if what:
        told = f"slice {query.first + number}: {what}"
        titles[number] = (
            f"{titles[fullest]}\n{what}" if number == fullest else f"{score.case}\n{told}"
        )
    grid = shards.volumes[query.volume].grid
    shown = [query.first + number for number in titles]
    images = load_images(shards, query.volume, shown, size=max(sliced_shape(grid)[1:]))[..., 0]
    return tuple(
        Picture(title, image, query.target[number], mask[number], spacing(grid)[1:])
        for (number, title), image in zip(titles.items(), restore(images, grid), strict=True)
    )


def most_false(target: np.ndarray, mask: np.ndarray) -> tuple[int, str]:
    """Find the slice with most voxels that are marked and should not be, or of those that are
    missed."""
    mask, target = mask.astype(bool), target.astype(bool)
    for false, what in ((mask & ~target, "falsely marked"), (target & ~mask, "missed")):
        counts = false.sum((1, 2))
        if counts.any():
            return int(counts.argmax()), f"{counts.max()} voxels {what}"
    return 0, ""
