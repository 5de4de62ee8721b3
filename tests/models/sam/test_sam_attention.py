"""Attention in pieces: the same numbers and derivatives as all at once, in less memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from jaxmeta.models.sam.attention import (
    SCORES,
    attend,
    chunk,
    entries_between,
    interpolation,
    relative,
    some_at_a_time,
)
from tests.helpers.small import on_arrays


def drawn(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


def plain(q, k, v, tilt=None):
    scores = q @ jnp.swapaxes(k, 1, 2)
    if tilt:
        scores += (tilt[0][..., :, None] + tilt[1][..., None, :]).reshape(scores.shape)
    return jax.nn.softmax(scores, axis=-1) @ v


@pytest.mark.parametrize("most", [1, 24, 50, 10**6])
@pytest.mark.parametrize("tilted", [False, True])
def test_pieces_of_any_size_are_the_softmax_of_the_whole(most, tilted):
    q, k, v = drawn(2, 6, 3), drawn(2, 12, 3, seed=1), drawn(2, 12, 5, seed=2)
    tilt = (drawn(2, 6, 3, seed=3), drawn(2, 6, 4, seed=4)) if tilted else None

    @jax.jit
    def both(q, k, v, tilt):
        return some_at_a_time((q, *(tilt or ())), k, v, most=most), plain(q, k, v, tilt)

    np.testing.assert_allclose(*both(q, k, v, tilt), atol=1e-6)


def test_many_scores_are_dealt_out_and_few_are_not():
    """The same function on both sides of the border: one head more than fits."""
    q = drawn(9, SCORES // 1024 + 1, 3)
    k, v = drawn(9, 1024, 3, seed=1), drawn(9, 1024, 2, seed=2)
    few = np.concatenate([attend(q[n : n + 1], k[n : n + 1], v[n : n + 1]) for n in range(9)])
    np.testing.assert_allclose(attend(q, k, v), few, atol=1e-5)
    assert "scan" in str(jax.make_jaxpr(attend)(q, k, v))
    assert "scan" not in str(jax.make_jaxpr(attend)(q[:1], k[:1], v[:1]))


def test_large_scores_do_not_overflow():
    q = 1e4 * drawn(1, 4, 3)
    found = some_at_a_time((q,), q, drawn(1, 4, 2, seed=1), most=4)
    assert np.isfinite(found).all()


def test_second_derivatives_in_pieces_equal_differences(x64):
    q, k, v = (drawn(1, 4, 2, seed=n).astype(jnp.float64) for n in range(3))
    rows, columns = drawn(1, 4, 2, seed=3), drawn(1, 4, 2, seed=4)
    tilt = tuple(a.astype(jnp.float64) for a in (rows, columns))

    def both(q, k, v, *tilt):
        return some_at_a_time((q, *tilt), k, v, most=8)

    check_grads(jax.jit(on_arrays(both)), (q, k, v, *tilt), order=2, modes=["rev"], rtol=1e-4)


def test_scores_are_never_held_at_once_and_derivatives_compute_them_again():
    q = jax.ShapeDtypeStruct((2, 1024, 8), jnp.float32)

    def needs(most):
        def loss(q):
            return (some_at_a_time((q,), q, q, most=most) ** 2).sum()

        return jax.jit(jax.grad(loss)).lower(q).compile().memory_analysis().temp_size_in_bytes

    scores = 2 * 1024 * 1024 * 4
    assert needs(10**9) > scores > 4 * needs(2**15)


def test_chunks_divide_what_they_cut():
    assert [chunk(12, most) for most in (0, 1, 5, 6, 11, 12, 99)] == [1, 1, 4, 6, 6, 12, 12]


def test_a_tilt_depends_on_the_distance_alone():
    """One channel, query 1 everywhere: the table itself, looked up at row - row + 2."""
    table = jnp.arange(5.0)[:, None]
    rows, columns = relative(jnp.ones((1, 3, 3, 1)), table, 10 * table)
    np.testing.assert_array_equal(rows[0].reshape(3, 3, 3)[:, 0], [[2, 1, 0], [3, 2, 1], [4, 3, 2]])
    np.testing.assert_array_equal(rows[0, :3], np.tile(rows[0, 0], (3, 1)))
    np.testing.assert_array_equal(columns[0, :3], [[20, 10, 0], [30, 20, 10], [40, 30, 20]])


def test_a_table_for_another_grid_keeps_straight_lines_straight():
    line = jnp.linspace(-1, 1, 9)[:, None]
    wanted = np.clip((np.arange(5) + 0.5) * 9 / 5 - 0.5, 0, 8) / 4 - 1  # pixel centers at halves
    np.testing.assert_allclose(interpolation(9, 5) @ line[:, 0], wanted, atol=1e-6)
    np.testing.assert_allclose(entries_between(line, 3)[:, 0, 0], wanted[2:], atol=1e-6)
    np.testing.assert_array_equal(interpolation(7, 7), np.eye(7))
