"""Layers written out again, and random values for them: what formulas are checked with."""

import jax
import jax.numpy as jnp
import numpy as np


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def shaken(tree):
    """Move every number away from where it begins."""
    leaves, how = jax.tree.flatten(tree)
    return jax.tree.unflatten(
        how, [a + 0.3 * drawn(*a.shape, seed=n) for n, a in enumerate(leaves)]
    )


def dense(own, x):
    return x @ own["kernel"] + own["bias"].reshape(*[1] * (x.ndim - 1), -1)


def norm(own, x):
    """Normalise the last axis, as `LayerNorm` with PyTorch's epsilon does."""
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    shape = [1] * (x.ndim - 1) + [-1]
    return x * own["scale"].reshape(shape) + own["bias"].reshape(shape)
