"""Linear systems that are known by their products alone."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.linear import conjugate_gradient, neumann


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


@pytest.mark.parametrize("solve", [conjugate_gradient(5), conjugate_gradient(9), neumann(400, 0.2)])
def test_a_positive_definite_system_is_solved(x64, solve):
    matrix, product, right = system([0.5, 1.0, 2.0, 4.0, 8.0])
    solution = flat(jax.jit(lambda r: solve(product, r))(right))
    np.testing.assert_allclose(solution, np.linalg.solve(matrix, flat(right)), rtol=1e-8)


def test_few_products_solve_what_few_eigenvalues_there_are(x64):
    matrix, product, right = system([1.0, 1.0, 1.0, 3.0, 3.0])
    solution = flat(conjugate_gradient(2)(product, right))
    np.testing.assert_allclose(solution, np.linalg.solve(matrix, flat(right)), rtol=1e-8)


def test_no_product_and_nothing_to_solve_give_nothing(x64):
    _, product, right = system([1.0, 2.0, 3.0])
    nothing = jax.tree.map(jnp.zeros_like, right)
    np.testing.assert_array_equal(flat(conjugate_gradient(3)(product, nothing)), 0)


@pytest.mark.parametrize("seed", range(8))
def test_where_it_does_not_curve_upwards_the_way_so_far_is_kept(x64, seed):
    """The solution is finite, no longer than what is solved allows, and descends."""
    _, product, right = system([-0.5, -0.1, 1.0, 2.0, 5.0], seed)
    solutions = [flat(conjugate_gradient(n)(product, right)) for n in (1, 2, 3, 5, 20)]
    assert all(np.isfinite(x).all() and x @ flat(right) > 0 for x in solutions)
    np.testing.assert_array_equal(solutions[-1], solutions[-2])  # at the latest here it has stopped
    lengths = [np.linalg.norm(x) for x in solutions]
    assert lengths == sorted(lengths)


def test_a_system_that_curves_downwards_at_once_gives_the_right_side(x64):
    _, product, right = system([-1.0, -2.0, -3.0])
    np.testing.assert_array_equal(flat(conjugate_gradient(4)(product, right)), flat(right))
