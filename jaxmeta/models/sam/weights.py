"""Published checkpoints of Segment Anything, tensor by tensor.

Every leaf of our tree has one tensor there and every tensor one leaf: names differ in how numbered
parts are written, shapes in the order of axes. Nothing is guessed and nothing left out: what does
not fit is told.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import jax
import numpy as np
from jaxtyping import PyTree

from jaxmeta.errors import BadInput
from jaxmeta.models.sam.sam import sam
from jaxmeta.models.sam.size import SIZES, Size

LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
TABLES = {"rel_pos_h", "rel_pos_w", "pos_embed"}  # tensors of their own, without ".weight"
FREQUENCIES = "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix"


class Tensor(NamedTuple):
    """Where a leaf of ours lies in a checkpoint."""

    name: str
    shape: tuple[int, ...]  # there
    axes: tuple[int, ...] | None  # there, in our order; None: axes of size 1 differ, and no others


@cache
def shapes_of(size: Size) -> PyTree:
    """Give the shapes of our tree: to trace the largest takes seconds, so each size is traced
    once."""
    return jax.eval_shape(sam(size).init, jax.random.key(0))


def tensors(size: Size) -> dict[tuple[str, ...], Tensor]:
    """List, leaf by leaf of our tree, the tensors that a checkpoint of this size holds."""
    found = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes_of(size)):
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


def leaf_of(value: np.ndarray, tensor: Tensor, shape: tuple[int, ...]) -> np.ndarray:
    """Turn a tensor of a checkpoint into a leaf of this shape."""
    value = value if tensor.axes is None else value.transpose(tensor.axes)
    return np.ascontiguousarray(value.reshape(shape), np.float32)


def recognized(found: Mapping[str, Sequence[int]]) -> Size:
    """Read off the size of the network from the names and shapes of a checkpoint.

    Raises BadInput where these are not of a Segment Anything model, or of one with parts of its
    own.
    """
    if any(".Adapter." in name for name in found):
        raise BadInput("an adapter model (SAM-Med2D): it has layers that Segment Anything has not")
    try:
        encoder = {n.removeprefix("image_encoder."): s for n, s in found.items()}
        numbers = [int(n.split(".")[1]) for n in encoder if n.startswith("blocks.")]
        depth = 1 + max(numbers, default=-1)
        lengths = [encoder[f"blocks.{n}.attn.rel_pos_h"][0] for n in range(depth)]
        grid, width = encoder["pos_embed"][1], encoder["pos_embed"][-1]
        patch = encoder["patch_embed.proj.weight"][-1]
        whole = tuple(n for n in range(depth) if lengths[n] == 2 * grid - 1)
        # where all blocks have tables of the whole grid's length, they all see it
        window = next(((n + 1) // 2 for n in (*lengths, 27) if n != 2 * grid - 1), 14)
        return Size(
            width,
            depth,
            width // encoder["blocks.0.attn.rel_pos_h"][1],
            whole,
            grid * patch,
            patch,
            window,
            encoder["neck.0.weight"][0],
            found["mask_decoder.transformer.layers.0.mlp.lin1.weight"][0],
        )
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        some = ", ".join(list(found)[:3]) or "nothing"
        why = f"no {error}" if isinstance(error, KeyError) else error
        raise BadInput(f"not a Segment Anything model: {why}; it holds {some}, ...") from None


def size_name(size: Size) -> str:
    """Name a size: as published, or by its numbers."""
    name = next((name for name, known in SIZES.items() if known == size), "a size of its own")
    return f"{name} ({size.depth} blocks of width {size.width}, images of {size.image} pixels)"


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


def fit_size(found: Mapping[str, Sequence[int]], size: Size) -> Fit:
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


def leaves(
    read: Callable[[str], np.ndarray], size: Size
) -> Iterator[tuple[tuple[str, ...], np.ndarray]]:
    """Give leaf by leaf of our tree, each read when its turn comes, from a checkpoint that fits."""
    known = tensors(size)
    for path, leaf in jax.tree_util.tree_leaves_with_path(shapes_of(size)):
        names = tuple(step.key for step in path)
        value = leaf_of(np.asarray(read(known[names].name)), known[names], leaf.shape)
        if not np.isfinite(value).all():
            raise BadInput(f"{known[names].name} holds numbers that are NaN or infinite")
        yield names, value


def from_leaves(found: Iterable[tuple[tuple[str, ...], np.ndarray]]) -> PyTree:
    """Put leaves together to a tree."""
    tree = {}
    for (*parts, last), value in found:
        node = tree
        for part in parts:
            node = node.setdefault(part, {})
        node[last] = value
    return tree
