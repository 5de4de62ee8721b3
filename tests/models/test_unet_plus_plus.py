"""UNet++: its size, the published network's values, and its running statistics."""

import json
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.models import unet_plus_plus
from tests.helpers.sizes import golden

TINY = (4, 8, 16, 32, 64)
PARTS = {"weight": "kernel", "bias": "bias"}


@pytest.fixture(scope="module")
def published():
    """The values of the published code at small widths, its arrays channels-first."""
    with np.load(golden("mlb_seg_unetpp_tiny.npz")) as file:
        return {name: file[name] for name in file.files if name != "config"}


@pytest.fixture(scope="module")
def model():
    return unet_plus_plus(TINY, groups=0)


def last(array):
    return jnp.asarray(np.moveaxis(array, 1, -1))


def translated(arrays):
    """Name PyTorch's arrays as here: (parameters, statistics)."""
    learned, running = {}, {}
    for name, array in arrays.items():
        if name.startswith("final."):
            part = name.removeprefix("final.")
            array = array[:, :, 0, 0].T if part == "weight" else array
            learned.setdefault("head", {})[PARTS[part]] = jnp.asarray(array)
            continue
        level, column, kind, number, part = re.fullmatch(
            r"conv(\d)_(\d)\.(conv|bn)(\d)\.(\w+)", name
        ).groups()
        block = f"block_{level}_{column}"
        if part == "num_batches_tracked":
            continue
        layer = f"{'conv' if kind == 'conv' else 'norm'}_{number}"
        into = running if part.startswith("running") else learned
        to = {"running_mean": "mean", "running_var": "variance"}.get(part)
        to = to or ({"weight": "scale"}.get(part, part) if kind == "bn" else PARTS[part])
        array = np.transpose(array, (2, 3, 1, 0)) if array.ndim == 4 else array
        into.setdefault(block, {}).setdefault(layer, {})[to] = jnp.asarray(array)
    return learned, running


def named(values, start):
    return {n.removeprefix(start): a for n, a in values.items() if n.startswith(start)}


def test_the_published_network_has_36628481_parameters():
    model = unet_plus_plus(groups=0)
    shapes = jax.eval_shape(model.init, jax.random.key(0))
    assert sum(a.size for a in jax.tree.leaves(shapes)) == 36_628_481
    table = json.loads(golden("mlb_seg_unetpp_shapes.json").read_text())["nestedunet_1_1_full"]
    learned, running = translated({n: np.zeros(s, np.float32) for n, s in table["tensors"].items()})
    assert jax.tree.map(np.shape, learned) == jax.tree.map(np.shape, shapes)
    state = jax.eval_shape(model.state)
    assert jax.tree.map(np.shape, running) == jax.tree.map(np.shape, state)


def test_it_gives_what_the_published_code_gives(published, model):
    """By running statistics, by the batch's own, and by those that the batch has moved."""
    learned, running = translated(named(published, "weights/"))
    image = last(published["input/x"])
    apply = jax.jit(model.apply, static_argnames="train")
    before, same = apply(learned, image, state=running)
    assert jax.tree.all(jax.tree.map(np.array_equal, same, running))
    np.testing.assert_allclose(before, last(published["output/eval_before/logits"]), atol=2e-5)
    logits, moved = apply(learned, image, state=running, train=True)
    np.testing.assert_allclose(logits, last(published["output/train/logits"]), atol=2e-5)
    expected = translated(named(published, "weights_after_train_forward/"))[1]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), moved, expected)
    after, _ = apply(learned, image, state=moved)
    np.testing.assert_allclose(after, last(published["output/eval_after/logits"]), atol=2e-5)


def test_its_gradients_are_the_published_code_s(published, model):
    learned, running = translated(named(published, "weights/"))
    image = last(published["input/x"])
    n, h, w, c = np.ogrid[: len(image), : image.shape[1], : image.shape[2], :1]
    weights = jnp.asarray(np.cos(0.5 * n + 0.37 * c + 0.11 * h + 0.23 * w), jnp.float32)

    def loss(learned):
        logits, _ = model.apply(learned, image, state=running, train=True)
        return (logits * weights).mean()

    found = jax.jit(jax.grad(loss))(learned)
    whole = {n: a for n, a in named(published, "grad/train/").items() if "@" not in n}
    expected, _ = translated(whole)
    largest = max(np.abs(a).max() for a in jax.tree.leaves(expected))
    compared = 0
    for path, array in jax.tree_util.tree_leaves_with_path(expected):
        own = found
        for key in path:
            own = own[key.key]
        np.testing.assert_allclose(own, array, rtol=1e-3, atol=2e-5 * largest)
        compared += 1
    assert compared > 60


@pytest.mark.parametrize("groups", [2, 0])
def test_every_parameter_reaches_the_output(groups):
    """But for biases that a BatchNorm takes away again."""
    model = unet_plus_plus((4, 4, 8), groups=groups)
    variables = model.init(jax.random.key(1))
    image = jax.random.normal(jax.random.key(2), (2, 8, 12, 1))

    def loss(variables):
        logits, _ = model.apply(variables, image, state=model.state(), train=True)
        return (logits**2).sum()

    gradient = jax.jit(jax.grad(loss))(variables)
    silent = {
        jax.tree_util.keystr(path, simple=True)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)
        if np.abs(leaf).max() < 1e-5
    }
    assert all("conv" in name and "bias" in name for name in silent)
    assert silent if groups == 0 else True


def test_without_batchnorm_there_is_no_state_and_slices_are_alone():
    model = unet_plus_plus((4, 8), groups=2)
    variables = model.init(jax.random.key(1))
    image = jax.random.normal(jax.random.key(2), (3, 8, 8, 1))
    both, state = model.apply(variables, image, train=True)
    assert state == () == model.state()
    np.testing.assert_allclose(both[:1], model.apply(variables, image[:1])[0], atol=1e-6)


def test_sides_that_do_not_halve_are_refused():
    model = unet_plus_plus((4, 8, 8), groups=2)
    with pytest.raises(ValueError, match="multiples of 4"):
        model.apply(model.init(jax.random.key(0)), jnp.zeros((1, 8, 6, 1)))
