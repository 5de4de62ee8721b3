"""Random values for layers, and layers written out again: what formulas are checked with."""

import jax
import jax.numpy as jnp
import numpy as np


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def begun(init, *given):
    """Draw values for all that `init` would make: compiling what draws them takes seconds a
    network."""
    shapes, how = jax.tree.flatten(jax.eval_shape(init, jax.random.key(0), *given))
    fan_in = [max(np.prod(a.shape[:-1]), 1) for a in shapes]
    return how.unflatten([drawn(*a.shape, seed=n) / fan_in[n] ** 0.5 for n, a in enumerate(shapes)])


def dense(own, x):
    return x @ own["kernel"] + own["bias"].reshape(*[1] * (x.ndim - 1), -1)


def norm(own, x):
    """Normalize the last axis, as `LayerNorm` with PyTorch's epsilon does."""
    x = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    shape = [1] * (x.ndim - 1) + [-1]
    return x * own["scale"].reshape(shape) + own["bias"].reshape(shape)
