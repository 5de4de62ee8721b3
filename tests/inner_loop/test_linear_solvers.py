"""Linear systems that are known by their products alone."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.flatten_util import ravel_pytree

from jaxmeta.algorithms import imaml
from jaxmeta.inner_loop.adapt import descend
from jaxmeta.inner_loop.linear_solvers import conjugate_gradient, neumann
from jaxmeta.inner_loop.plan import whole_support
from jaxmeta.inner_loop.transforms import clip_norm
from jaxmeta.losses.segmentation import segmentation_loss
from jaxmeta.methods.imaml import Imaml
from tests.helpers.small import MODEL, in_float64, small_task


def system(eigenvalues, seed=0):
    """Make a symmetric matrix, its product over a tree, and a right side."""
    rng = np.random.default_rng(seed)
    basis, _ = np.linalg.qr(rng.normal(size=(len(eigenvalues),) * 2))
    matrix = jnp.asarray(basis * np.asarray(eigenvalues) @ basis.T)
    right = rng.normal(size=len(eigenvalues))

    def product(v):
        whole = matrix @ jnp.concatenate([v["a"], v["b"]])
        return dict(a=whole[:2], b=whole[2:])

    return matrix, product, dict(a=jnp.asarray(right[:2]), b=jnp.asarray(right[2:]))


def flat(tree):
    return np.concatenate([tree["a"], tree["b"]])


@pytest.mark.parametrize(
    "solve", [conjugate_gradient(5), conjugate_gradient(9), neumann(400, 0.2), neumann(400)]
)
def test_a_positive_definite_system_is_solved(x64, solve):
    matrix, product, right = system([0.5, 1.0, 2.0, 4.0, 8.0])
    solution = flat(jax.jit(lambda r: solve(product, r))(right))
    np.testing.assert_allclose(solution, np.linalg.solve(matrix, flat(right)), rtol=1e-8)


def test_few_products_solve_what_few_eigenvalues_there_are(x64):
    matrix, product, right = system([1.0, 1.0, 1.0, 3.0, 3.0])
    solution = flat(jax.jit(lambda r: conjugate_gradient(2)(product, r))(right))
    np.testing.assert_allclose(solution, np.linalg.solve(matrix, flat(right)), rtol=1e-8)


def test_no_product_and_nothing_to_solve_give_nothing(x64):
    _, product, right = system([1.0, 2.0, 3.0])
    nothing = jax.tree.map(jnp.zeros_like, right)
    for solve in (conjugate_gradient(3), neumann(3)):
        np.testing.assert_array_equal(flat(solve(product, nothing)), 0)


@cache
def of(solver, products: int):
    """Compile so many products of a solver for any matrix, and any scale."""
    return jax.jit(lambda matrix, right: solver(products)(lambda v: matrix @ v, right))


after = partial(of, neumann)


@settings(max_examples=20)
@given(
    st.lists(st.floats(1, 20), min_size=5, max_size=5),
    st.integers(-30, 30),
    st.integers(0, 2**16),
)
def test_a_neumann_series_gains_with_every_product_at_any_scale_and_ends_at_the_solution(
    eigenvalues, scale, seed
):
    jax.config.update("jax_enable_x64", True)
    try:
        matrix, _, right = system(np.asarray(eigenvalues) * 2.0**scale, seed)
        exact = np.linalg.solve(matrix, flat(right))
        found = [np.asarray(after(n)(matrix, flat(right))) for n in (1, 2, 3, 5, 20, 1000)]
    finally:
        jax.config.update("jax_enable_x64", False)
    energies = [(x - exact) @ np.asarray(matrix) @ (x - exact) for x in (0 * exact, *found)]
    least = 1e-20 * energies[0]
    assert all(b < max(a, least) for a, b in zip(energies, energies[1:], strict=False))
    np.testing.assert_allclose(found[-1], exact, atol=1e-8 * np.abs(exact).max())


def test_systems_side_by_side_are_solved_as_each_alone(x64):
    """Also beside one that has nothing to solve, and one that stops."""
    matrices, _, rights = zip(
        *[
            system(np.asarray(e), n)
            for n, e in enumerate([[1, 2, 3, 4, 5], [9, 9, 9, 9, 90], [-1] * 5])
        ],
        strict=True,
    )
    matrices, rights = jnp.stack(matrices), np.stack([flat(right) for right in rights])
    rights[1] = 0
    for number, found in enumerate(jax.vmap(after(20))(matrices, jnp.asarray(rights))):
        np.testing.assert_allclose(found, after(20)(matrices[number], rights[number]), rtol=1e-12)


@pytest.mark.parametrize("solver", [neumann, conjugate_gradient])
def test_three_products_point_where_the_exact_implicit_gradient_points(x64, solver):
    """With the preset's steps, rate and number of products, where the inner problem is convex.

    Undamped, a series of three has a cosine of -.40 to it on the second task.
    """
    preset, strength = Imaml(), 1.0
    loss = segmentation_loss(MODEL, cross_entropy_weight=3.0)
    update = optax.chain(clip_norm(preset.clip), optax.sgd(preset.rate))
    how = dict(steps=preset.steps, strength=strength, inner=update)
    algorithm = imaml(MODEL, loss, **how, solve=solver(preset.cg_steps))

    @jax.jit
    def both(meta, task):
        def proximal(phi, examples, key):
            away = jax.tree.map(jnp.subtract, phi, meta.learned["theta"])
            return loss(phi, examples, key) + strength / 2 * optax.tree.norm(away, squared=True)

        plan = whole_support(task.support, preset.steps)
        key = jax.random.key(0)
        phi, _ = descend(
            proximal, meta.learned["theta"], task.support, plan, update=update, key=key
        )
        flat, whole = ravel_pytree(phi)
        curved = jax.hessian(lambda v: loss(whole(v), task.support, key))(flat)
        slope = jax.grad(lambda v: loss(whole(v), task.query, key))(flat)
        meta_gradient, _ = algorithm.outer(meta, task)
        return jnp.eye(flat.size) + curved / strength, slope, ravel_pytree(meta_gradient)[0]

    for seed in range(4):
        meta = in_float64(algorithm.init(jax.random.key(seed)))
        matrix, slope, found = map(np.asarray, both(meta, in_float64(small_task(seed))))
        assert np.linalg.eigvalsh(matrix)[0] > 0
        exact = np.linalg.solve(matrix, slope)
        assert found @ exact / np.linalg.norm(found) / np.linalg.norm(exact) > 0.9


@pytest.mark.parametrize("solver", [conjugate_gradient, neumann])
@pytest.mark.parametrize("seed", range(4))
def test_where_it_does_not_curve_upwards_the_way_so_far_is_kept(x64, seed, solver):
    """The solution is finite, no longer than what is solved allows, and descends."""
    matrix, _, right = system([-0.5, -0.1, 1.0, 2.0, 5.0], seed)
    solutions = [np.asarray(of(solver, n)(matrix, flat(right))) for n in (1, 2, 3, 5, 50, 100)]
    assert all(np.isfinite(x).all() and x @ flat(right) > 0 for x in solutions)
    np.testing.assert_array_equal(solutions[-1], solutions[-2])  # at the latest here it has stopped
    lengths = [np.linalg.norm(x) for x in solutions]
    assert lengths == sorted(lengths)


def test_a_system_that_curves_downwards_at_once_gives_the_right_side(x64):
    _, product, right = system([-1.0, -2.0, -3.0])
    for solve in (conjugate_gradient(4), neumann(4)):
        np.testing.assert_array_equal(flat(solve(product, right)), flat(right))
