"""Parts of a tree of variables, by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.inner_loop.parameters import named, part_of

TREE = {"up": {"conv": {"kernel": jnp.ones((2, 2))}, "norm": jnp.zeros(3)}, "head": [jnp.ones(1)]}


def test_leaves_are_named_by_their_path():
    assert list(named(TREE)) == ["head/0", "up/conv/kernel", "up/norm"]


@pytest.mark.parametrize(
    "names, expected",
    [
        (("head",), {"head/0"}),
        (("up/conv",), {"up/conv/kernel"}),
        (("up/norm", "head/0"), {"up/norm", "head/0"}),
        (("up", "up/norm"), {"up/conv/kernel", "up/norm"}),
    ],
)
def test_a_part_is_what_lies_under_its_names_and_fits_back_where_it_was(names, expected):
    part, whole = part_of(TREE, names)
    assert set(part) == expected
    changed = named(whole({name: leaf + 1 for name, leaf in part.items()}))
    for name, leaf in named(TREE).items():
        np.testing.assert_array_equal(changed[name], leaf + (name in expected))
    assert jax.tree.structure(whole(part)) == jax.tree.structure(TREE)


def test_without_names_the_part_is_the_whole():
    part, whole = part_of(TREE, ())
    assert part is TREE and whole(part) is TREE


@pytest.mark.parametrize("name", ["conv", "u", "head/1", "up/norm/scale", ""])
def test_a_name_that_matches_nothing_is_refused_with_those_that_would(name):
    with pytest.raises(ValueError, match=f"called '{name}': it has head, head/0, up, up/conv, "):
        part_of(TREE, (name,))
