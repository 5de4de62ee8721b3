"""Published checkpoints: every tensor has its place, and nothing else has."""

import json

import jax
import numpy as np
import pytest

from jaxmeta.models.sam import SIZES
from jaxmeta.models.sam.weights import fit_size, from_leaves, leaf_of, leaves, shapes_of, tensors
from tests.helpers.sizes import SMALL, golden


@pytest.mark.parametrize("name, count", [("vit-b", 314), ("vit-l", 482), ("vit-h", 594)])
def test_every_key_and_shape_of_the_published_files_has_one_place(name, count):
    shapes = json.loads(golden("sam_checkpoint_shapes.json").read_text())[name.replace("-", "_")]
    found = fit_size(shapes, SIZES[name])
    assert found.whole and len(found.matched) == count == len(shapes)


def test_leaves_and_tensors_are_one_to_one():
    known = tensors(SMALL)
    shapes = shapes_of(SMALL)
    assert len(known) == len(jax.tree.leaves(shapes)) == len({t.name for t in known.values()})
    for leaf, tensor in zip(jax.tree.leaves(shapes), known.values(), strict=True):
        assert leaf.size == np.prod(tensor.shape)


def test_what_does_not_fit_is_named():
    there = {tensor.name: tensor.shape for tensor in tensors(SMALL).values()}
    there["image_encoder.pos_embed"] = (1, 9, 9, 8)
    there["mask_decoder.adapter.weight"] = (3, 3)
    del there["prompt_encoder.no_mask_embed.weight"]
    found = fit_size(there, SMALL)
    assert found.missing == ("prompt_encoder.no_mask_embed.weight",)
    assert found.unexpected == ("mask_decoder.adapter.weight",)
    assert found.misshapen == ("image_encoder.pos_embed: (1, 9, 9, 8), not (1, 4, 4, 8)",)
    assert not found.whole


def test_every_number_of_a_file_arrives():
    rng = np.random.default_rng(0)
    read = {t.name: rng.normal(size=t.shape).astype(np.float32) for t in tensors(SMALL).values()}
    tree = from_leaves(leaves(read.__getitem__, SMALL))
    for (path, leaf), tensor in zip(
        jax.tree_util.tree_leaves_with_path(tree), tensors(SMALL).values(), strict=True
    ):
        assert sorted(leaf.ravel()) == sorted(read[tensor.name].ravel()), path


def test_kernels_are_turned_from_the_published_order_of_axes_also_where_they_are_square():
    """There: linear (out, in), convolution (out, in, y, x), transposed convolution (in, out, y,
    x)."""
    rng = np.random.default_rng(0)
    found = jax.tree_util.tree_leaves_with_path(shapes_of(SMALL))
    shapes = {tuple(step.key for step in path): leaf.shape for path, leaf in found}
    kinds = set()
    for path, tensor in tensors(SMALL).items():
        value = rng.normal(size=tensor.shape).astype(np.float32)
        found = leaf_of(value, tensor, shapes[path])
        if path[-1] != "kernel":
            np.testing.assert_array_equal(found.ravel(), value.ravel())
            continue
        kind = "up" if "upscaling" in "".join(path) else len(value.shape)
        turned = {2: (1, 0), 4: (2, 3, 1, 0), "up": (2, 3, 0, 1)}[kind]
        np.testing.assert_array_equal(found, value.transpose(turned).reshape(found.shape))
        kinds.add((kind, value.shape[0] == value.shape[1]))
    assert {(2, True), (4, False), ("up", False)} <= kinds


@pytest.mark.parametrize(
    "name, encoder_count, whole",
    [
        ("vit-b", 89_670_912, 93_735_472),
        ("vit-l", 308_278_272, 312_342_832),
        ("vit-h", 637_026_048, 641_090_608),
    ],
)
def test_published_sizes_have_their_number_of_parameters(name, encoder_count, whole):
    count = {
        part: sum(a.size for a in jax.tree.leaves(of))
        for part, of in shapes_of(SIZES[name]).items()
    }
    frequencies = 256  # drawn once, stored, and never trained
    assert count["image_encoder"] == encoder_count
    assert count["prompt_encoder"] == 6_220 + frequencies
    assert count["mask_decoder"] == 4_058_340
    assert sum(count.values()) == whole + frequencies
