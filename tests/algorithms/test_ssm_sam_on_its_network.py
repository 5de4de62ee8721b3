"""SSM-SAM's optimization of the network it is made for: its meta-gradient in whole, and the room it
takes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.algorithms.ssm_sam import ssm_sam
from jaxmeta.models.sam import sam
from jaxmeta.models.sam.adapters import high_pass
from jaxmeta.models.ssm_sam import self_sampling
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.tasks.task import Examples, Task
from tests.helpers.by_hand import begun
from tests.helpers.sizes import SMALL

pytestmark = pytest.mark.slow
SIZE = SMALL._replace(width=4, depth=4, heads=1, whole=(0, 2), hidden=4)
CHUNK = 2


def examples(seed, count, side):
    rng = np.random.default_rng(seed)
    image = rng.normal(size=(count, side, side, 1)).astype(np.float32)
    mask = (rng.random((count, side, side)) > 0.7).astype(np.uint8)
    prompt = np.repeat(mask[::CHUNK], CHUNK, axis=0)
    return Examples(image, mask, np.ones(count, bool), prompt)


def task(side):
    key, numbers = np.array([1, 2], np.uint32), np.zeros(2, np.int32)
    return Task(examples(0, 4, side), examples(1, 2, side), key, numbers)


def algorithm(size, **how):
    network = self_sampling(size, high_pass(size, width=2), dropout=0.0)
    return ssm_sam(network, chunk=CHUNK, passes=1, **how)


def double(tree):
    return jax.tree.map(lambda a: a.astype(np.float64) if a.dtype == np.float32 else a, tree)


def test_the_second_order_direction_equals_differences(x64):
    """Along a random direction, in float64: the sum over chunks of the loss at the adapted
    parameters.

    The walk follows slopes of ReLUs, which jump, and with them the loss: about once in 2e-5 of this
    direction. The differences are small enough to fall between two jumps.
    """
    learner = algorithm(SIZE, order=2, rate=0.05)
    meta = double(begun(learner.init)._replace(backbone=begun(sam(SIZE).init)))
    rng = np.random.default_rng(0)
    along = jax.tree.map(lambda a: rng.normal(size=a.shape), meta.learned)
    outer, asked = jax.jit(learner.outer), double(task(16))
    meta_gradient, _ = outer(meta, asked)

    def loss(t):
        learned = jax.tree.map(lambda a, d: a + t * d, meta.learned, along)
        return float(outer(meta._replace(learned=learned), asked)[1]["loss"])

    slopes = jax.tree.map(lambda g, d: float((g * d).sum()), meta_gradient, along)
    h = 1e-8
    wanted = (loss(h) - loss(-h)) / (2 * h)
    assert sum(jax.tree.leaves(slopes)) == pytest.approx(wanted, rel=1e-4)


def test_under_vmap_over_organs_the_frozen_weights_exist_once():
    """Of a wide encoder of four tokens a step over four organs holds no second copy."""
    wide = SIZE._replace(width=192, image=8, window=2)
    learner = algorithm(wide)
    shapes = jax.eval_shape(sam(wide).init, jax.random.key(0))["image_encoder"]
    meta = jax.eval_shape(learner.init, jax.random.key(0))
    meta = meta._replace(backbone={"image_encoder": shapes})
    frozen = sum(leaf.size * 4 for leaf in jax.tree.leaves(shapes))

    def needs(count):
        tasks = jax.tree.map(lambda a: jnp.broadcast_to(a[None], (count, *a.shape)), task(8))
        mapped = jax.jit(over_tasks(learner.outer, chunk=count))
        memory = mapped.lower(meta, tasks).compile().memory_analysis()
        return memory.argument_size_in_bytes, memory.temp_size_in_bytes

    (one, room), (four, more) = needs(1), needs(4)
    assert one > frozen  # they are an argument, and no constant
    assert four - one < 0.1 * frozen and more - room < frozen
