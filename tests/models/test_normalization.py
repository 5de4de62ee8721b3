"""Normalizations see what varies, however far from 0 it lies and whatever it is stored in."""

import re
from functools import cache, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import jaxmeta.models
from jaxmeta.models.layers import GroupNorm
from jaxmeta.models.sam.layers import LayerNorm

SHAPE = 2, 16, 8, 8
GROUPS = {"group": 4, "instance": 8, "layer": 1}
LAYERS = {
    "group": GroupNorm(4),
    "instance": GroupNorm(8, affine=False),
    "layer": LayerNorm(),
}
# What float32 rounds off where the image itself is not moved, of its offset.
EPS = float(np.finfo(np.float32).eps)
ROUNDED = {"group": EPS, "instance": EPS, "layer": 0.0}
# dtype: the step that its values at every offset are multiples of, offsets, tolerance
KINDS = {
    "float32": (2**-8, (0, 10, 100, 2000), 1e-4),
    "bfloat16": (2**-1, (0, 10, 100, -100), 2**-7),
    "float16": (2**-3, (0, 10, -100, 200), 2**-9),
}


def drawn(kind: str, offset: float, seed: int, shape=SHAPE) -> jax.Array:
    """Draw values that the type holds exactly with the offset and without."""
    step, _, _ = KINDS[kind]
    rng = np.random.default_rng(seed)
    values = np.clip(np.round(rng.normal(size=shape) / step) * step, -4, 4)
    stored = jnp.asarray(values + offset, kind)
    np.testing.assert_array_equal(np.asarray(stored, np.float64), values + offset)
    return stored


def by_hand(name: str, x: np.ndarray) -> np.ndarray:
    """Normalize in float64, in two passes."""
    n, height, width, channels = x.shape
    if name == "layer":
        view, axes = x, -1
    else:
        view, axes = x.reshape(n, height, width, GROUPS[name], -1), (1, 2, 4)
    centered = view - view.mean(axes, keepdims=True)
    spread = np.sqrt((centered**2).mean(axes, keepdims=True) + LAYERS[name].epsilon)
    return (centered / spread).reshape(x.shape)


@cache
def applied(name: str):
    """Apply a layer with parameters of its input's type, compiled."""
    layer = LAYERS[name]

    def apply(x):
        variables = layer.init(jax.random.key(0), x)
        return layer.apply(jax.tree.map(lambda p: p.astype(x.dtype), variables), x)

    return jax.jit(apply)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAYERS)
@settings(max_examples=6)
@given(st.data())
def test_a_constant_that_is_added_to_the_input_changes_nothing(name, kind, data):
    _, offsets, tolerance = KINDS[kind]
    offset, seed = data.draw(st.sampled_from(offsets)), data.draw(st.integers(0, 99))
    x = drawn(kind, offset, seed)
    found = applied(name)(x)
    assert found.dtype == x.dtype
    wanted = by_hand(name, np.asarray(x, np.float64))
    np.testing.assert_allclose(
        np.asarray(found, np.float64),
        wanted,
        rtol=tolerance,
        atol=tolerance + ROUNDED[name] * abs(offset),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", LAYERS)
def test_rows_that_differ_from_all_others_are_seen_too(name, kind):
    """What a first pass over a part of the rows does not show, or what it shows alone."""
    for rows in (slice(None, None, 8), slice(1, None, 8), slice(0, 1)):
        x = np.array(drawn(kind, 0, 3), np.float64)
        x[:, rows] += 100
        stored = jnp.asarray(x, kind)
        np.testing.assert_array_equal(np.asarray(stored, np.float64), x)
        found = np.asarray(applied(name)(stored), np.float64)
        tolerance = KINDS[kind][2]
        np.testing.assert_allclose(found, by_hand(name, x), rtol=tolerance, atol=tolerance)


@cache
def slopes(name: str, kind: str):
    """Compile first and second derivatives of a number that depends on all outputs, along a
    direction."""

    def number(x, weight):
        seen = applied(name)(x).astype(jnp.promote_types(x.dtype, jnp.float32))
        return (weight * seen + jnp.tanh(seen)).sum()

    def both(x, towards, weight):
        of = partial(jax.grad(number), weight=weight)
        return jax.jvp(of, (x,), (towards,))

    return jax.jit(both)


COSTLY = [
    pytest.param(
        name, kind, marks=() if name != "instance" and kind != "float16" else pytest.mark.slow
    )
    for name in LAYERS
    for kind in KINDS
]


@pytest.mark.parametrize(("name", "kind"), COSTLY)
def test_derivatives_are_those_in_float64(x64, name, kind):
    """First and second, at every offset: the layer's own in float64 without any, which is checked
    beside."""
    _, offsets, tolerance = KINDS[kind]
    weight, towards = (drawn("bfloat16", 0, seed) for seed in (7, 8))

    def derivatives(kind, x):
        given = jnp.asarray(x, kind), towards.astype(kind)
        wide = jnp.promote_types(jnp.dtype(kind), jnp.float32)
        found = slopes(name, kind)(*given, weight.astype(wide))
        return [np.asarray(d, np.float64) for d in found]

    for offset in offsets:
        x = drawn(kind, offset, 4)
        wanted = derivatives("float64", np.asarray(x, np.float64) - offset)
        for order, (a, b) in enumerate(zip(derivatives(kind, x), wanted, strict=True)):
            limit = 4 * (tolerance + ROUNDED[name] * abs(offset)) * np.abs(b).max() * (1 + order)
            np.testing.assert_allclose(a, b, rtol=0, atol=limit, err_msg=f"{offset} {order}")


@pytest.mark.slow
@pytest.mark.parametrize("name", LAYERS)
def test_in_float64_both_derivatives_are_finite_differences(x64, name):
    x, weight, towards = (
        drawn("float32", 0, seed, (1, 8, 8, 8)).astype("float64") for seed in (4, 7, 8)
    )
    first, second = slopes(name, "float64")(x, towards, weight)

    def along(x):
        return slopes(name, "float64")(x, towards, weight)[0]

    step = 1e-5
    numeric = (along(x + step * towards) - along(x - step * towards)) / (2 * step)
    np.testing.assert_allclose(second, numeric, atol=1e-6 * np.abs(numeric).max())

    def number(x):
        seen = np.asarray(applied(name)(x))
        return (weight * seen + np.tanh(seen)).sum()

    numeric = (number(x + step * towards) - number(x - step * towards)) / (2 * step)
    np.testing.assert_allclose((first * towards).sum(), numeric, rtol=1e-6)


@pytest.mark.parametrize(("name", "kind"), COSTLY)
def test_an_image_of_one_value_is_the_bias_with_finite_derivatives(name, kind):
    x = jnp.full(SHAPE, 100.0, kind)
    slope = LAYERS[name].epsilon ** -0.5  # what lies within rounding of nothing is spread by
    np.testing.assert_allclose(applied(name)(x), 0, atol=ROUNDED[name] / 2 * 100 * slope)
    for found in slopes(name, kind)(x, x / 100, jnp.ones(SHAPE, jnp.float32)):
        assert jnp.isfinite(found).all()


def test_no_model_has_a_normalization_of_flax():
    """Its own takes the variance in one pass unless told."""
    found = [
        f"{path}: {name}"
        for path in Path(jaxmeta.models.__file__).parent.rglob("*.py")
        for name in re.findall(
            r"nn\.(?:Layer|Group|Batch|Instance|RMS)Norm\(\w+", path.read_text("utf-8")
        )
    ]
    assert not found
