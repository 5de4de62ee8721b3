"""In-context segmentation: the support is read, and nothing is adapted.

    phi = read(theta, support)        once a support, whatever will be asked
    logits = decode(theta, phi, query)

The meta-gradient is the plain gradient of the query loss. Where slices have a prompt it is how high
each lies in its scan, 0 to 1 and below 0 where nobody knows; without any nobody does."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxmeta.algorithms.algorithm import Algorithm
from jaxmeta.algorithms.amortized import amortized
from jaxmeta.models.model import Model
from jaxmeta.models.reader import Reader
from jaxmeta.tasks.task import Examples


def in_context(reader: Reader, loss_of: Callable[[Model], Callable]) -> Algorithm:
    """Learn to segment what a support shows.

    `loss_of(model)` makes the loss, as `segmentation_loss` does.
    """

    def read(theta: PyTree, support: Examples) -> PyTree:
        height = heights(support.prompt, support.image)
        return reader.read(theta, support.image, support.mask, support.valid, height)

    def decode(theta: PyTree, phi: PyTree, image, prompt=()) -> Float[Array, "N H W 1"]:
        return reader.decode(theta, phi, image, heights(prompt, image))

    return amortized(reader.init, read, decode, loss_of)


def heights(prompt: Any, image: Float[Array, "N H W C"]) -> Float[Array, " N"]:
    """Take the heights of slices from their prompt; -1 where there is none."""
    return prompt if isinstance(prompt, jax.Array) else jnp.full(len(image), -1.0, image.dtype)
