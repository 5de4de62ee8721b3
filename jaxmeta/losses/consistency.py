"""Consistency of what a network says of several looks at the same slices: mean squares of
probabilities that differ."""

import itertools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from jaxmeta.augmentation.variants import LOOKS, Looks, come_back, look_again, look_back


def pairwise(
    probability: Float[Array, "B 5 S S"], looks: Looks, *, published: bool = False
) -> Float[Array, ""]:
    """Mean over the ten pairs j < k of (p_j - T_j T_k^-1 p_k)^2.

    Pixels that do not come back from look k, or that look j shows nothing of, are left out. As
    `published` they count, as zeros, and no gradient goes through p_k.
    """
    back = look_back(looks, probability)
    known = jnp.ones_like(back) if published else come_back(looks).astype(back.dtype)
    if published:
        back = jax.lax.stop_gradient(back)
    total = jnp.zeros((), back.dtype)
    for j, k in itertools.combinations(range(LOOKS), 2):
        other, valid = look_again(looks, back[:, k], j), look_again(looks, known[:, k], j) > 0.999
        valid = jnp.ones_like(valid) if published else valid
        total += mean_square(probability[:, j] - other, valid)
    return total / (LOOKS * (LOOKS - 1) / 2)


def mean_square(apart: Float[Array, "*n"], valid: Bool[Array, "*n"]) -> Float[Array, ""]:
    """Take the mean square of the valid ones."""
    kept = valid.astype(apart.dtype)
    return (apart**2 * kept).sum() / jnp.maximum(kept.sum(), 1)
