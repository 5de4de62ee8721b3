"""Small operations that go wrong easily: a maximum with one derivative, ranks, keys."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key, UInt32


def maximum(a: Float[Array, "..."], b: Float[Array, "..."] | float) -> Float[Array, "..."]:
    """Take the larger; the gradient goes to it alone, of equals to `a`. What is no number stays
    none.

    The derivatives of `jnp.maximum` and `.max()` look for the operand that equals the result. A
    compiler that computes the operand a second time may round it otherwise; then none does, and the
    gradient is 0 or NaN without a word: seen on processors, and on GPUs
    (github.com/jax-ml/jax/issues/40564). One comparison always has one answer. NaN compares with
    nothing: as `a` it is asked for by name, as `b` it is what remains.
    """
    return jnp.where((a >= b) | jnp.isnan(a), a, b)


def rank(score: float) -> float:
    """Order scores, one that is no number below all: `max` keeps it where it comes first."""
    return -math.inf if math.isnan(score) else score


def typed_key(raw: UInt32[Array, "2"]) -> Key[Array, ""]:
    """Make a typed key of the raw one that the host gave a task."""
    return jax.random.wrap_key_data(raw)
