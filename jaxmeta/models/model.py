"""What a model is to the rest of the library: a pair of pure functions over an explicit tree."""

from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jaxmeta.errors import BadInput


class Model(NamedTuple):
    """A segmentation network as values and functions, whatever module library made it.

    Any pair of pure functions will do::

        init(key: Key[Array, ""]) -> variables: PyTree[Float[Array, "..."]]
        apply(variables, image: Float[Array, "N H W C"], prompt=(), *, key=None, train=False)
            -> (logits: Float[Array, "N H W K"], state: PyTree)

    The N slices do not know of each other. H and W are what the run resizes to, C is 1, K the
    number of outputs that the model was made with: 1, a structure against all else, but for the
    heads of transfer. A logit above 0 is the structure. `prompt` is for prompted models, leaves [N,
    ...], () for most; `key` is there in training, for what is random, and so is `train`. `state` is
    what layers with running statistics hand on, () for most: a model that has any begins it by
    `state()`, and takes it as `apply(..., state=...)`; weights that stay as they are given are
    state too. The inner loop walks on all of `variables`, or on what `names` say of its first
    levels, so they are a dict, and hold what is learned alone. `encode(variables, image)`, where a
    model has it, is a frozen prefix that may be computed once per image, outside the inner loop."""

    init: Callable[..., Any]
    apply: Callable[..., Any]
    encode: Callable[..., Any] | None = None
    state: Callable[[], Any] = tuple


def halving(module: nn.Module, levels: int, channels: int = 1, *, collection: str = "") -> Model:
    """Make a model of a module that halves its image `levels` - 1 times.

    `collection` names its running statistics, where it has any: then the module is told whether it
    is in training.

    `apply` raises ValueError where a side of the image is not a multiple of 2^(levels - 1).
    """
    multiple = 2 ** (levels - 1)
    smallest = (1, multiple, multiple, channels)

    def init(key):
        return module.init(key, jnp.zeros(smallest))["params"]

    def begin():
        return module.init(jax.random.key(0), jnp.zeros(smallest))[collection]

    def apply(
        variables, image: Float[Array, "N H W C"], prompt=(), *, key=None, train=False, state=()
    ) -> tuple[Float[Array, "N H W K"], Any]:
        if image.shape[1] % multiple or image.shape[2] % multiple:
            raise ValueError(
                f"a U-Net of {levels} levels needs sides that are multiples of {multiple}, "
                f"these slices are {image.shape[1]} x {image.shape[2]}"
            )
        if not collection:
            return module.apply({"params": variables}, image), ()
        given, moving = {"params": variables, collection: state}, collection if train else False
        found = module.apply(given, image, train, mutable=moving)
        return (found[0], found[1][collection]) if train else (found, state)

    return Model(init, apply, state=begin) if collection else Model(init, apply)


class Trained(NamedTuple):
    """What others have learned with a model that has state, and that state."""

    variables: PyTree
    state: PyTree


def with_state(model: Model, state: PyTree) -> Model:
    """Make the same model, but begin its state with that of another."""
    if jax.eval_shape(model.state) != jax.eval_shape(lambda: state):
        raise BadInput(
            "the network to begin with has other running statistics, or other frozen weights, than "
            "this one, or one of both has none: is it of another kind, width or depth?"
        )
    return model._replace(state=lambda: state)


def begin_with(model: Model, variables: PyTree) -> Model:
    """Make the same model, but begin it with what others have learned, `Trained` or the variables
    alone.

    Variables of the same name and shape are taken over; what has none, like the head of a network
    with another number of outputs, is drawn as before. Raises BadInput where hardly anything fits,
    and for a state of another shape.
    """
    if isinstance(variables, Trained):
        return begin_with(with_state(model, variables.state), variables.variables)
    known = dict(jax.tree_util.tree_leaves_with_path(variables))
    wanted = jax.tree_util.tree_leaves_with_path(jax.eval_shape(model.init, jax.random.key(0)))
    taken = {
        path: known[path]
        for path, leaf in wanted
        if path in known and known[path].shape == leaf.shape
    }
    if 3 * len(taken) < len(wanted):
        raise BadInput(
            f"only {len(taken)} of the network's {len(wanted)} arrays have a counterpart of the "
            "same shape in the one to begin with: is it of another width or depth?"
        )

    def init(key):
        return jax.tree_util.tree_map_with_path(taken.get, model.init(key))

    return model._replace(init=init)
