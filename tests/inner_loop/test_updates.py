"""The library's own update rules."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmeta.inner_loop.transforms import clip_norm, scale_by, scale_by_step

G = dict(a=jnp.array([3.0, 0.0]), b=jnp.array([[4.0]]))  # of norm 5


@pytest.mark.parametrize("limit", [1.0, 4.9, 5.1, 100.0])
def test_clipping_is_that_of_optax(limit):
    mine, _ = clip_norm(limit).update(G, optax.EmptyState())
    other, _ = optax.clip_by_global_norm(limit).update(G, optax.EmptyState())
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), mine, other)


def test_clipping_has_a_derivative_where_everything_is_zero():
    nothing = jax.tree.map(jnp.zeros_like, G)

    def slope(rule):
        _, carry_back = jax.vjp(lambda g: rule.update(g, optax.EmptyState())[0], nothing)
        return carry_back(G)[0]

    jax.tree.map(np.testing.assert_array_equal, slope(clip_norm(1.0)), G)
    optaxs = slope(optax.clip_by_global_norm(1.0))
    assert np.isnan(optaxs["a"]).all()  # once this fails, optax's own will do


def test_rates_scale_updates_leaf_by_leaf():
    rates = dict(a=jnp.array([2.0, 0.0]), b=jnp.full((1, 1), 0.5))
    scaled, _ = scale_by(rates).update(G, optax.EmptyState())
    np.testing.assert_array_equal(scaled["a"], [6.0, 0.0])
    np.testing.assert_array_equal(scaled["b"], [[2.0]])
    np.testing.assert_array_equal(scale_by(-2.0).update(G, ())[0]["a"], [-6.0, 0.0])


def test_each_step_has_its_rate_and_later_ones_the_last():
    rule = scale_by_step(dict(a=jnp.array([1.0, 10.0]), b=jnp.array([0.0, 2.0])))
    state, seen = rule.init(G), []
    for _ in range(3):
        scaled, state = rule.update(G, state)
        seen.append((scaled["a"][0].item(), scaled["b"].item()))
    assert seen == [(3, 0), (30, 8), (30, 8)]
