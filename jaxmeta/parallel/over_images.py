"""The image axis: a network that sees each image by itself sees those of one batch on several
devices.

What makes its step of all images together, MLB-Seg say, has no tasks to spread. Its network has
images; derivatives of any kind go through, and gradients of what every device has are summed over
devices, as they must be here: a loss is of all images.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float, PyTree


def over_images(
    apply: Callable[[PyTree, Array], Array], mesh: Mesh | None
) -> Callable[[PyTree, Float[Array, "N H W C"]], Array]:
    """Make (variables, image [N, ...]) -> [N, ...] of a function that does the same, each device of
    the mesh with its share of the images; a few of zeros fill the last one's.

    `apply` must not look from one image at another, as BatchNorm in training does.
    """
    if mesh is None or mesh.size == 1:
        return apply
    (axis,) = mesh.axis_names
    same, spread = PartitionSpec(), PartitionSpec(axis)
    shared = jax.shard_map(
        apply, mesh=mesh, in_specs=(same, spread), out_specs=spread, check_vma=False
    )

    def apart(variables: PyTree, image: Float[Array, "N H W C"]) -> Array:
        lacking = -len(image) % mesh.size
        filled = jnp.pad(image, [(0, lacking)] + [(0, 0)] * (image.ndim - 1))
        return shared(variables, filled)[: len(image)]

    return apart
