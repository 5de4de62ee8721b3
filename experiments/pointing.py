"""Segment what is pointed at in a volume, by Segment Anything: for `predict` without a support.

Prompts are voxels of the file's array, from 0, as a viewer's cursor tells them. Every slice that has a
prompt is segmented by itself.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, PyTree

from experiments.build_sam import size_of
from experiments.runs import open_run
from jaxmeta.data.grid import Grid, to_sliced
from jaxmeta.devices import jit
from jaxmeta.errors import BadInput
from jaxmeta.models.sam import Prompts, Sam, sam
from jaxmeta.models.sam.files import read_size, read_weights
from jaxmeta.models.sam.images import HIGH, LOW, as_colours, fitted, frame_of, in_frame, restored
from jaxmeta.models.sam.prompts import INSIDE, OUTSIDE

Voxel = tuple[int, int, int]


class Pointed(NamedTuple):
    """What was pointed at in a volume."""

    boxes: tuple[tuple[Voxel, Voxel], ...] = ()  # opposite corners
    clicks: tuple[tuple[Voxel, bool], ...] = ()  # and whether they lie inside


def parse_boxes(texts: Sequence[str]) -> tuple[tuple[Voxel, Voxel], ...]:
    """Read X,Y,Z,X,Y,Z: two corners."""
    boxes = [numbers(text, 6, "--box", "X,Y,Z,X,Y,Z") for text in texts]
    return tuple((box[:3], box[3:]) for box in boxes)


def parse_clicks(inside: Sequence[str], outside: Sequence[str]) -> tuple[tuple[Voxel, bool], ...]:
    """Read X,Y,Z of clicks on the structure, and of clicks beside it."""
    told = [(text, True, "--click") for text in inside]
    told += [(text, False, "--click-outside") for text in outside]
    return tuple((numbers(text, 3, option, "X,Y,Z"), on) for text, on, option in told)


def numbers(text: str, count: int, option: str, form: str) -> tuple[int, ...]:
    """Read so many whole numbers."""
    try:
        values = tuple(int(part) for part in text.split(","))
    except ValueError:
        values = ()
    if len(values) != count:
        raise BadInput(f"{option} {text}: write {form}, whole voxels of the file's array from 0")
    return values


def open_network(folder: Path, *, is_run: bool) -> tuple[Sam, PyTree]:
    """Open Segment Anything: of a run, or of a folder of converted weights."""
    if not is_run:
        return sam(read_size(folder)), read_weights(folder)
    run = open_run(folder)
    if run.config.algorithm != "sam":
        raise BadInput(
            f"{folder} is of {run.config.algorithm}, which learns from a support and not from pointing: "
            "--box and --click are for runs of sam-tiny and converted weights"
        )
    return sam(size_of(run.config)), run.state.meta.learned


def pointer(network: Sam, variables: PyTree) -> Callable[..., Bool[np.ndarray, "N H W"]]:
    """Make (slices, grid, pointed) -> mask; slices are normalised, at their own size."""
    size, variables = network.size, jax.device_put(variables)
    encode, decode = jit(network.encode), jit(network.decode, static_argnames="several")

    def segment(slices: Float[np.ndarray, "N H W 1"], grid: Grid, pointed: Pointed):
        frame = frame_of(*slices.shape[1:3], size.image, patch=size.patch)
        mask = np.zeros(slices.shape[:3], bool)
        for number, prompts in sorted(by_slice(pointed, grid).items()):
            several = prompts.boxes is None and prompts.labels.shape[1] == 1
            told = in_frame(prompts, frame)
            image = jnp.asarray(slices[number : number + 1])
            seen = fitted(as_colours(image, LOW, HIGH), frame)
            embedding = encode(variables, seen)
            logits, quality = decode(variables, embedding, told, several=several)
            best = int(quality[0].argmax())  # one click may mean a part or the whole
            mask[number] |= np.asarray(restored(logits, frame)[0, ..., best] > 0)
        return mask

    return segment


def by_slice(pointed: Pointed, grid: Grid) -> dict[int, Prompts]:
    """Deal what was pointed at to slices: the box's rectangle to each that it crosses, clicks to their own.

    Raises BadInput for voxels outside of the volume, and for two boxes on one slice.
    """
    boxes, clicks = {}, {}
    for one, other in pointed.boxes:
        ends = np.array([place(one, grid), place(other, grid)])
        (first, top, left), (last, bottom, right) = ends.min(0), ends.max(0)
        for number in range(first, last + 1):
            if number in boxes:
                raise BadInput(
                    "--box: two boxes cross the same slice; segment them one after the other"
                )
            boxes[number] = np.array([[left, top, right, bottom]], np.float32)
    for voxel, inside in pointed.clicks:
        number, row, column = place(voxel, grid)
        clicks.setdefault(number, []).append((column, row, INSIDE if inside else OUTSIDE))
    found = {}
    for number in boxes.keys() | clicks.keys():
        at = np.array(clicks.get(number, ()), np.float32).reshape(1, -1, 3)
        points = dict(points=at[..., :2], labels=at[..., 2].astype(np.int32)) if at.size else {}
        found[number] = Prompts(boxes=boxes.get(number), **points)
    return found


def place(voxel: Voxel, grid: Grid) -> Voxel:
    """Find the slice, row and column of a voxel."""
    if not all(0 <= at < side for at, side in zip(voxel, grid.shape, strict=True)):
        shape = " x ".join(map(str, grid.shape))
        told = ",".join(map(str, voxel))
        raise BadInput(f"voxel {told} lies outside of the volume of {shape} voxels, counted from 0")
    return to_sliced(voxel, grid)
