"""Published checkpoints of Segment Anything, tensor by tensor.

Every leaf of our tree has one tensor there and every tensor one leaf: names differ in how numbered
parts are written, shapes in the order of axes. Nothing is guessed and nothing left out: what does not
fit is told.
"""

import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxmeta.models.sam.sam import sam
from jaxmeta.models.sam.size import Size

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
TABLES = {"rel_pos_h", "rel_pos_w", "pos_embed"}  # tensors of their own, without ".weight"
FREQUENCIES = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


class Tensor(NamedTuple):
    """Where a leaf of ours lies in a checkpoint."""

    name: str
    shape: tuple[int, ...]  # there
    axes: tuple[int, ...] | None  # there, in our order; None: axes of size 1 differ, and no others


def tensors(size: Size) -> dict[tuple[str, ...], Tensor]:
    """List, leaf by leaf of our tree, the tensors that a checkpoint of this size holds."""
    shapes = jax.eval_shape(sam(size).init, jax.random.key(0))
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes):
        names = tuple(step.key for step in path)
        found[names] = tensor_of(names, leaf.shape)
    return found


def tensor_of(path: tuple[str, ...], shape: tuple[int, ...]) -> Tensor:
    """Name the tensor of a leaf, and turn the leaf's shape into the tensor's."""
    *parts, last = path
    if last == "frequencies":
        return Tensor(FREQUENCIES, shape, (0, 1))
    if last in LEAVES:
        parts.append(LEAVES[last])
    else:
        parts += [last] if last in TABLES else [last, "weight"]
    name = ".".join(parts).replace("mask_downscaling.layers_", "mask_downscaling_")
    name = re.sub(r"_(\d+)(?=\.)", r".\1", name)
    if last == "pos_embed":
        return Tensor(name, (1, *shape), None)
    if last != "kernel":
        return Tensor(name, shape, tuple(range(len(shape))))
    if len(shape) == 4:
        axes = (2, 3, 0, 1) if "output_upscaling" in name else (2, 3, 1, 0)
        there = tuple(shape[axes.index(n)] for n in range(4))
        return Tensor(name, there, axes)
    if "neck" in name or "mask_downscaling" in name:  # a 1x1 convolution there
        return Tensor(name, (*shape[::-1], 1, 1), (2, 3, 1, 0))
    return Tensor(name, shape[::-1], (1, 0))


def converted(value: np.ndarray, tensor: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """Turn a tensor of a checkpoint into a leaf of this shape."""
    value = value if tensor.axes is None else value.transpose(tensor.axes)
    return np.ascontiguousarray(value.reshape(shape), np.float32)


class Fit(NamedTuple):
    """How the tensors of a file fit a size."""

    matched: tuple[str, ...]
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]  # "name: shape there, shape wanted"

    @property
    def whole(self) -> bool:
        """Say whether each tensor has its leaf and each leaf its tensor."""
        return not (self.missing or self.unexpected or self.misshapen)


def fit(found: Mapping[str, Sequence[int]], size: Size) -> Fit:
    """Compare the names and shapes of a file with those of a size."""
    wanted = {tensor.name: tensor.shape for tensor in tensors(size).values()}
    both = [name for name in wanted if name in found]
    return Fit(
        tuple(name for name in both if tuple(found[name]) == wanted[name]),
        tuple(name for name in wanted if name not in found),
        tuple(name for name in found if name not in wanted),
        tuple(
            f"{name}: {tuple(found[name])}, not {wanted[name]}"
            for name in both
            if tuple(found[name]) != wanted[name]
        ),
    )


def from_tensors(read: Mapping[str, np.ndarray], size: Size) -> PyTree:
    """Make our tree of a checkpoint's tensors, which must fit."""
    shapes = jax.eval_shape(sam(size).init, jax.random.key(0))
    known = tensors(size)

    def leaf(path, shape):
        tensor = known[tuple(step.key for step in path)]
        return converted(np.asarray(read[tensor.name]), tensor, shape.shape)

    return jax.tree_util.tree_map_with_path(leaf, shapes)
