"""A network, a loss and tasks small enough to compile in a second, for the tests of the core.

The network is a bare pair of functions, as a user's own would be, and smooth, so that finite
differences see the same function on both sides of a point.
"""

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxmeta.losses.segmentation import segmentation_loss
from jaxmeta.models.convolution import convolve
from jaxmeta.models.model import Model
from jaxmeta.tasks.task import Examples, Task

SIDE = 8


def small_model(classes: int = 1) -> Model:
    """Make a convolution, softplus and a head."""

    def init(key):
        trunk, head = jax.random.split(key)
        return dict(
            trunk=dict(kernel=jax.random.normal(trunk, (3, 3, 1, 3)) / 3),
            head=dict(kernel=jax.random.normal(head, (3, classes)), bias=jnp.zeros(classes)),
        )

    def apply(variables, image, prompt=(), *, key=None, train=False):
        features = jax.nn.softplus(convolve(image, variables["trunk"]["kernel"]))
        head = variables["head"]
        return features @ head["kernel"] + head["bias"][None, None, None], ()

    return Model(init, apply)


MODEL = small_model()
LOSS = segmentation_loss(MODEL)


def small_task(number: int = 0, *, shots: int = 3, queries: int = 2) -> Task:
    """Draw a task: bright blobs on noise, the last support slice only filling the shape."""
    rng = np.random.default_rng(number)

    def examples(count, filled):
        image = rng.normal(size=(count, SIDE, SIDE, 1))
        mask = (image[..., 0] > 0.5).astype(np.uint8)
        return Examples(image.astype(np.float32), mask, np.arange(count) < count - filled)

    key = rng.integers(0, 2**32, 2, dtype=np.uint32)
    task_id = np.array([number, number % 2], np.int32)
    task = Task(examples(shots, 1), examples(queries, 0), key, task_id)
    return jax.tree.map(jnp.asarray, task)


def small_batch(count: int) -> Task:
    """Stack the tasks 0 .. count - 1."""
    return jax.tree.map(lambda *a: jnp.stack(a), *[small_task(n) for n in range(count)])


def in_float64(tree):
    """Cast the floating leaves; call under the fixture `x64`."""
    return jax.tree.map(
        lambda a: (
            jnp.asarray(a, jnp.float64)
            if jnp.issubdtype(jnp.asarray(a).dtype, jnp.floating)
            else jnp.asarray(a)
        ),
        tree,
    )


def random_like(tree, seed: int = 0):
    """Draw a tree of the same shapes, of unit normal values."""
    leaves, structure = jax.tree.flatten(tree)
    rng = np.random.default_rng(seed)
    return structure.unflatten([jnp.asarray(rng.normal(size=a.shape), a.dtype) for a in leaves])


def slope(function, tree, towards, step: float = 1e-5) -> float:
    """Take the central difference of a scalar function of a tree along a direction."""

    def moved(by):
        return jax.tree.map(lambda a, d: a + by * d, tree, towards)

    return float((function(moved(step)) - function(moved(-step))) / (2 * step))


def along(tree, towards) -> float:
    """Sum the products of two trees."""
    return float(optax.tree.vdot(tree, towards))


def on_arrays(function):
    """Let a function that is typed for JAX arrays be probed by `check_grads` with NumPy ones."""
    return lambda *a: function(*jax.tree.map(jnp.asarray, a))
