"""SSM-SAM's network as one number that shows what it is told, and a task for it."""

import jax.numpy as jnp
import numpy as np

from jaxmeta.models.sam.adapters import Adapter, Prefix
from jaxmeta.models.ssm_sam import SsmSam
from jaxmeta.tasks.task import Examples, Task
from tests.helpers.sizes import SMALL


def large(mask):
    return jnp.repeat(jnp.repeat(mask, 4, axis=1), 4, axis=2)


def apply(frozen, learned, prefix, points, mask, *, key=None):
    """Logits are w times the halo, tilted by the pixels and by how many points there are."""
    told = 2 * large(mask) - 1 + 0.1 * prefix.tokens[..., 0]
    return learned["w"] * told + 0.02 * points.shape[1]


SHOWN = SsmSam(
    SMALL,
    Adapter((0,), None),
    lambda key: {"w": jnp.array(0.5)},
    lambda frozen, pixels: Prefix(pixels),
    apply,
)


def examples(seed, count):
    rng = np.random.default_rng(seed)
    image = jnp.asarray(rng.normal(size=(count, 16, 16, 1)), jnp.float32)
    mask = np.zeros((count, 16, 16), np.uint8)
    prompt = np.zeros_like(mask)
    for n in range(count):
        mask[n, n : n + 6, 2:9] = 1
        prompt[n, 5 + n // 2 : 9 + n // 2, 3:12] = 1
    return Examples(image, jnp.asarray(mask), jnp.ones(count, bool), jnp.asarray(prompt))


TASK = Task(examples(0, 4), examples(1, 6), jnp.array([1, 2], jnp.uint32), jnp.zeros(2, jnp.int32))
