"""What the pieces of an anatomy look like: contrast that a cohort shares, images that differ."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from jaxmeta.cohorts.anatomy import AIR, CELLS, LABELS, PIECES
from jaxmeta.cohorts.waves import Waves, cut, of_waves, value, waves

TISSUES = 10  # fewer than pieces: several look alike
FILLER = 0.4  # share of the cells that are one and the same tissue, and no organ
INVERTED = 0.15  # share of cohorts whose contrast is turned around


class Contrast(NamedTuple):
    """What the subjects of a cohort share of their looks."""

    tissue: Integer[Array, " L"]  # of each label; 0 fills
    intensity: Float[Array, " L"]  # nearly that of its tissue
    texture: Float[Array, " L"]  # standard deviation of what is grainy in it


class Acquisition(NamedTuple):
    """What one subject's scan has of its own."""

    intensity: Float[Array, " L"]
    bias: Waves  # the logarithm of the bias field
    blur: Float[Array, ""]  # in pixels
    noise: Float[Array, ""]


def random_contrast(key: Array) -> Contrast:
    """Draw the contrast of a cohort; of some it is inverted, their air bright."""
    some, others = jax.random.split(key)
    (own,) = cut(jax.random.normal, some, (LABELS,))
    tissue, fills, values, air, inverted, texture = cut(
        jax.random.uniform, others, (PIECES,), (PIECES,), (TISSUES,), (), (), (LABELS,)
    )
    tissue = 1 + jnp.floor((TISSUES - 1) * tissue).astype(jnp.int32)
    fills = (fills < FILLER) & (jnp.arange(PIECES) < CELLS)
    tissue = jnp.concatenate([jnp.where(fills, 0, tissue), jnp.array([1, 0])])
    intensity = (0.2 + 0.8 * values)[tissue] + 0.02 * own * (tissue > 0)
    intensity = intensity.at[AIR].set(0.05 * air)
    intensity = jnp.where(inverted < INVERTED, 1 - intensity, intensity)
    return Contrast(tissue, intensity, (0.1 * texture**2).at[AIR].set(0.0))


def is_organ(contrast: Contrast) -> Bool[Array, " P"]:
    """Tell which pieces may be asked for: not what fills the room between them."""
    return contrast.tissue[:PIECES] > 0


def random_acquisition(key: Array, contrast: Contrast) -> Acquisition:
    """Draw how one subject's scan shows a cohort's contrast."""
    some, others = jax.random.split(key)
    by_tissue, own, bias = cut(jax.random.normal, some, (TISSUES,), (LABELS,), of_waves(1))
    strength, blur, noise = cut(jax.random.uniform, others, (), (), ())
    return Acquisition(
        contrast.intensity + 0.025 * by_tissue[contrast.tissue] + 0.01 * own,
        waves(bias, cycles=0.3, spread=0.12 * strength),
        blur=0.3 + 0.8 * blur,
        noise=0.1 * noise**2,
    )


def shown(
    contrast: Contrast,
    scan: Acquisition,
    labels: Integer[Array, "N H W"],
    points: Float[Array, "N H W 3"],
    deviates: Float[Array, "2 N H W"],
) -> Float[Array, "N H W"]:
    """Make slices of labels: grain, blur, bias field, noise; then normalized over the body.

    Their mean and standard deviation in the body become 0 and 1, as prepared scans have it; what is
    far outside is clipped. `deviates` are normal: what grain and noise are made of.
    """
    image = scan.intensity[labels] + contrast.texture[labels] * deviates[0]
    image = blurred(image, scan.blur)
    image = image * jnp.exp(value(scan.bias, points.reshape(-1, 3)).reshape(labels.shape))
    image = image + scan.noise * deviates[1]
    body = (labels != AIR).astype(image.dtype)
    count = jnp.maximum(body.sum(), 1)
    mean = (image * body).sum() / count
    spread = jnp.sqrt((((image - mean) * body) ** 2).sum() / count + 1e-6)
    return jnp.clip((image - mean) / spread, -4, 4)


def blurred(image: Float[Array, "N H W"], sd: Float[Array, ""]) -> Float[Array, "N H W"]:
    """Smooth slices with a Gaussian of seven taps, their edge repeated outside."""
    taps = jnp.exp(-0.5 * (jnp.arange(-3, 4) / sd) ** 2)
    taps = taps / taps.sum()
    for axis in (1, 2):
        length = image.shape[axis]
        pad = [(3, 3) if a == axis else (0, 0) for a in range(3)]
        wide = jnp.pad(image, pad, mode="edge")
        parts = [jax.lax.slice_in_dim(wide, i, i + length, axis=axis) for i in range(7)]
        image = sum(taps[i] * part for i, part in enumerate(parts))
    return image
