"""A mean teacher: parameters that follow the student's slowly (Tarvainen and Valpola 2017, arXiv
1703.01780)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, PyTree

DECAY = 0.99


def decay_at(step: Integer[Array, ""], most: float = DECAY) -> Float[Array, ""]:
    """Give the share that stays: 1 - 1 / (step + 1), `most` at the most; at step 0 nothing does."""
    return jnp.minimum(1 - 1 / (step + 1), most)


def followed(teacher: PyTree, student: PyTree, decay: Float[Array, ""] | float) -> PyTree:
    """Let the teacher follow: decay * teacher + (1 - decay) * student."""
    return jax.tree.map(lambda t, s: decay * t + (1 - decay) * s, teacher, student)
