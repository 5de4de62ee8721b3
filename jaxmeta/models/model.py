"""What a model is to the rest of the library: a pair of pure functions over an explicit tree."""

from collections.abc import Callable
from typing import Any, NamedTuple


class Model(NamedTuple):
    """A segmentation network as values and functions, whatever module library made it.

    Any pair of pure functions will do::

        init(key) -> variables                      a tree of arrays
        apply(variables, image, given=(), *, key=None, train=False) -> (logits, state)

    with `image` [N, H, W, C] and `logits` [N, H, W, K]. `state` is what a layer with running
    statistics would hand on, () for ours. `encode(variables, image)`, where a model has it, is a
    frozen prefix that may be computed once per image, outside the inner loop.
    """

    init: Callable[..., Any]
    apply: Callable[..., Any]
    encode: Callable[..., Any] | None = None
