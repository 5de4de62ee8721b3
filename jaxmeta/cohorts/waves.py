"""Random numbers in one piece, and smooth random functions of space made of them.

A cohort takes some fifty small draws. Each would be a generator of its own in the compiled program,
half a second of compiling apiece, so a function draws all it needs at once and cuts it up.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, Float

COUNT = 8  # waves of a function
TURNS = 10.0  # standard deviation of a phase, in cycles: what is left of a whole one is uniform


class Waves(NamedTuple):
    """M plane waves in space, summed to C outputs."""

    frequency: Float[Array, "M 3"]  # cycles a unit of length
    phase: Float[Array, " M"]  # in cycles
    weight: Float[Array, "M C"]


def cut(draw: Callable, key: Array, *shapes: tuple[int, ...]) -> list[Array]:
    """Cut one draw of `draw(key, shape)` into arrays of these shapes."""
    sizes = [math.prod(shape) for shape in shapes]
    ends = [sum(sizes[: n + 1]) for n in range(len(sizes))]
    drawn = draw(key, (ends[-1],))
    each = zip(shapes, sizes, ends, strict=True)
    return [drawn[end - size : end].reshape(shape) for shape, size, end in each]


def of_waves(outputs: int) -> tuple[int, int]:
    """Say how many normal deviates a function with so many outputs is made of."""
    return COUNT, 4 + outputs


def waves(drawn: Float[Array, "M D"], *, cycles: float, spread: float | Array) -> Waves:
    """Make a function of normal deviates; over all draws its standard deviation is `spread`.

    Frequencies are normal with `cycles` as their standard deviation: with many waves a Gaussian
    process whose correlation falls as exp(-(2 pi cycles distance)^2 / 2), which is what smoothing
    white noise with a Gaussian gives. A wave's mean square is 1/2, hence the 2.
    """
    weight = spread * math.sqrt(2 / COUNT) * drawn[:, 4:]
    return Waves(cycles * drawn[:, :3], TURNS * drawn[:, 3], weight)


def value(waves: Waves, points: Float[Array, "P 3"]) -> Float[Array, "P C"]:
    """Evaluate the function at P points."""
    at = jnp.matmul(points, waves.frequency.T, precision="highest") + waves.phase[None]
    at = at - jnp.round(at)  # a sine is exact and quick near 0
    return jnp.matmul(jnp.sin(2 * jnp.pi * at), waves.weight, precision="highest")
