"""Images shared by devices: the values and derivatives of a network that has them all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.parallel.devices import image_mesh, replicate
from jaxmeta.parallel.over_images import over_images
from tests.helpers.small import MODEL, SIDE


def apply(variables, image):
    return MODEL.apply(variables, image)[0][..., 0]


@pytest.mark.parametrize("count", [1, 4, 5])
def test_values_and_derivatives_are_those_of_one_device(count, x64):
    mesh = image_mesh()
    rng = np.random.default_rng(count)
    variables = jax.tree.map(lambda a: a.astype(jnp.float64), MODEL.init(jax.random.key(0)))
    image = jnp.asarray(rng.normal(size=(count, SIDE, SIDE, 1)))
    along = jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape)), variables)
    shared = over_images(apply, mesh)
    variables, along, image = (replicate(tree, mesh) for tree in (variables, along, image))

    def asked(apply):
        def loss(variables):
            return (apply(variables, image) ** 2).mean()

        values, moved = jax.jvp(lambda v: apply(v, image), (variables,), (along,))
        _, push = jax.linearize(lambda v: apply(v, image), variables)
        (pulled,) = jax.linear_transpose(push, variables)(values)
        second = jax.jvp(jax.grad(loss), (variables,), (along,))[1]
        return values, moved, push(along), pulled, jax.grad(loss)(variables), second

    expected, found = (jax.jit(lambda: asked(each))() for each in (apply, shared))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-12), *(found, expected)
    )


def test_one_device_has_nothing_to_share():
    assert over_images(apply, None) is apply
