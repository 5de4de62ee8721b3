"""Segment what is pointed at in a volume, by Segment Anything: for `predict` without a support.

Prompts are voxels of the file's array, from 0, as a viewer's cursor tells them. Every slice that
has a prompt is segmented by itself.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, PyTree

from jaxmeta.data.grid import Grid, to_sliced
from jaxmeta.errors import BadInput
from jaxmeta.methods import method_of
from jaxmeta.methods.networks.segment_anything import size_of
from jaxmeta.models.sam import Prompts, Sam, sam
from jaxmeta.models.sam.files import read_preprocessing, read_size, read_weights
from jaxmeta.models.sam.images import (
    HIGH,
    LOW,
    TRAINED_HERE,
    Layout,
    Preprocessing,
    as_colors,
    fitted,
    in_frame,
    layout_of,
    restored,
)
from jaxmeta.models.sam.prompts import INSIDE, OUTSIDE
from jaxmeta.parallel.devices import jit
from jaxmeta.runs.run import open_run

Voxel = tuple[int, int, int]


class Pointed(NamedTuple):
    """How one structure was pointed at in a volume."""

    boxes: tuple[tuple[Voxel, Voxel], ...] = ()  # opposite corners
    clicks: tuple[tuple[Voxel, bool], ...] = ()  # and whether they lie inside


def parse_pointed(
    boxes: Sequence[str], inside: Sequence[str], outside: Sequence[str]
) -> dict[int, Pointed]:
    """Read what was pointed at, by the value that a structure has in the mask: 1, unless it is
    written before.

    Raises BadInput for what is written in another way, and for a structure with clicks beside it
    alone.
    """
    found: dict[int, Pointed] = {}
    for text in boxes:
        value, at = voxels(text, "box", "X,Y,Z,X,Y,Z")
        held = found.get(value, Pointed())
        found[value] = held._replace(boxes=(*held.boxes, (at[:3], at[3:])))
    clicks = [(text, "click") for text in inside]
    for text, option in clicks + [(text, "click_outside") for text in outside]:
        value, at = voxels(text, option, "X,Y,Z")
        held = found.get(value, Pointed())
        found[value] = held._replace(clicks=(*held.clicks, (at, option == "click")))
    for value, (corners, at) in found.items():
        if not corners and not any(on for _, on in at):
            raise BadInput(
                f"`click_outside` alone shows no structure {value}: add `box` or `click` of it"
            )
    return dict(sorted(found.items()))


def voxels(text: str, option: str, form: str) -> tuple[int, tuple[int, ...]]:
    """Read a structure's value, where it is given, and as many whole numbers as the form has."""
    value, colon, at = text.rpartition(":")
    value = value if colon else "1"
    try:
        numbers = tuple(int(part) for part in at.split(","))
    except ValueError:
        numbers = ()
    if len(numbers) != len(form.split(",")) or not (value.isdecimal() and 0 < int(value) < 2**16):
        raise BadInput(
            f"`{option}={text}`: write {form}, whole voxels of the file's array from 0, or "
            f"VALUE:{form} for the value that the structure has in the mask"
        )
    return int(value), numbers


def open_network(folder: Path, *, is_run: bool) -> tuple[Sam, PyTree, Preprocessing]:
    """Open Segment Anything, of a run or of a folder of converted weights, and how it is shown
    images."""
    if not is_run:
        return sam(read_size(folder)), read_weights(folder), read_preprocessing(folder)
    run = open_run(folder)
    if not method_of(run.config.method).pointed_at:
        raise BadInput(
            f"{folder} is of {run.config.algorithm}, which learns from a support and not from "
            "pointing: `box` and `click` are for runs of sam-tiny and converted weights"
        )
    return sam(size_of(run.config)), run.state.meta.learned["theta"], TRAINED_HERE


def pointer(
    network: Sam,
    variables: PyTree,
    preprocessing: Preprocessing = Preprocessing(),
    window: tuple[float, float] = (LOW, HIGH),
) -> Callable:
    """Make (slices [N, H, W, 1], grid, K structures) -> (which slices were pointed at, logits [K,
    M, H, W]).

    Slices are normalized, at their own size, and grey from one end of the window to the other; of a
    structure that a slice was not asked for, logits are -inf.
    """
    size, variables = network.size, jax.device_put(variables)
    encode, decode = jit(network.encode), jit(network.decode, static_argnames="several")

    def segment(
        slices: Float[np.ndarray, "N H W 1"], grid: Grid, structures: Sequence[Pointed]
    ) -> tuple[list[int], Float[np.ndarray, "K M H W"]]:
        how = dict(patch=size.patch, stretched=preprocessing.stretched)
        frame = layout_of(*slices.shape[1:3], size.image, **how)
        asked = [dealt_to_slices(each, grid) for each in structures]
        numbers = sorted(set().union(*asked))
        found = np.full((len(asked), len(numbers), *slices.shape[1:3]), -np.inf, np.float32)
        for place, number in enumerate(numbers):
            image = jnp.asarray(slices[number : number + 1])
            seen = encode(variables, fitted(as_colors(image, *window), frame, preprocessing))
            for logits, told in zip(found, asked, strict=True):
                if number in told:
                    logits[place] = answer(seen, in_frame(told[number], frame), frame)
        return numbers, found

    def answer(seen, prompts: Prompts, frame: Layout) -> Float[np.ndarray, "H W"]:
        several = prompts.boxes is None and prompts.labels.shape[1] == 1
        logits, quality = decode(variables, seen, prompts, several=several)
        best = int(quality[0].argmax())  # one click may mean a part or the whole
        return np.asarray(restored(logits, frame)[0, ..., best])

    return segment


def dealt_to_slices(pointed: Pointed, grid: Grid) -> dict[int, Prompts]:
    """Deal what was pointed at to slices: the box's rectangle to each that it crosses, clicks to
    their own.

    Raises BadInput for voxels outside of the volume, for two boxes of a structure on one slice, and
    for a slice that has clicks beside the structure alone.
    """
    boxes, clicks = {}, {}
    for one, other in pointed.boxes:
        ends = np.array([place_of_voxel(one, grid), place_of_voxel(other, grid)])
        (first, top, left), (last, bottom, right) = ends.min(0), ends.max(0)
        for number in range(first, last + 1):
            if number in boxes:
                raise BadInput(
                    "`box`: two boxes of a structure cross the same slice; as structures of their "
                    "own, 1:X,Y,Z,... and 2:X,Y,Z,..., they are two values of the mask"
                )
            boxes[number] = np.array([[left, top, right, bottom]], np.float32)
    places = [place_of_voxel(voxel, grid) for voxel, _ in pointed.clicks]
    shown = boxes.keys() | {at[0] for at, (_, inside) in zip(places, pointed.clicks) if inside}
    for (number, row, column), (voxel, inside) in zip(places, pointed.clicks, strict=True):
        if number not in shown:
            at = ",".join(map(str, voxel))
            raise BadInput(
                f"`click_outside={at}`: its slice has no `box` and no `click` of that structure"
            )
        clicks.setdefault(number, []).append((column, row, INSIDE if inside else OUTSIDE))
    found = {}
    for number in boxes.keys() | clicks.keys():
        at = np.array(clicks.get(number, ()), np.float32).reshape(1, -1, 3)
        points = dict(points=at[..., :2], labels=at[..., 2].astype(np.int32)) if at.size else {}
        found[number] = Prompts(boxes=boxes.get(number), **points)
    return found


def place_of_voxel(voxel: Voxel, grid: Grid) -> Voxel:
    """Find the slice, row and column of a voxel."""
    if not all(0 <= at < side for at, side in zip(voxel, grid.shape, strict=True)):
        shape = " x ".join(map(str, grid.shape))
        told = ",".join(map(str, voxel))
        raise BadInput(f"voxel {told} lies outside of the volume of {shape} voxels, counted from 0")
    return to_sliced(voxel, grid)
