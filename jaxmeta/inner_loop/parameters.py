"""A part of a network's variables, by name: what an inner loop moves while the rest stands
still."""

from collections.abc import Callable, Iterable, Sequence

import jax
from jaxtyping import PyTree


def part_of(tree: PyTree, names: Sequence[str]) -> tuple[PyTree, Callable[[PyTree], PyTree]]:
    """Take the leaves under `names` ("head", "up_0/conv_1"); returns the part, and part -> whole
    tree.

    Without names the part is the whole. Raises ValueError for a name that matches nothing.
    """
    if not names:
        return tree, lambda part: part
    leaves = named(tree)
    for name in names:
        if not any(within(leaf, name) for leaf in leaves):
            raise ValueError(f"no part of the network is called {name!r}: it has {known(leaves)}")
    part = {leaf: v for leaf, v in leaves.items() if any(within(leaf, n) for n in names)}

    def whole(part: dict) -> PyTree:
        return jax.tree.unflatten(jax.tree.structure(tree), (leaves | part).values())

    return part, whole


def named(tree: PyTree) -> dict[str, jax.Array]:
    """Give each leaf its path, in the tree's order."""
    leaves, _ = jax.tree.flatten_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def within(leaf: str, name: str) -> bool:
    """Tell whether a leaf lies under a name."""
    return f"{leaf}/".startswith(f"{name}/")


def known(leaves: Iterable[str]) -> str:
    """List what the leaves can be called by: every path and what it lies under."""
    paths = [leaf.split("/") for leaf in leaves]
    ends = {"/".join(path[:depth]): None for path in paths for depth in range(1, len(path) + 1)}
    return ", ".join(ends)
