"""What one algorithm alone promises, or two have in common."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxmeta.algorithms import maml, prototypes
from jaxmeta.algorithms.maml_plus_plus import importance
from jaxmeta.losses.segmentation import segmentation_loss
from jaxmeta.models.model import Model
from jaxmeta.tasks.task import Examples
from tests.helpers.matrix import CASES, STEPS, pixel_loss
from tests.helpers.small import LOSS, MODEL, small_task


def test_zero_inner_steps_is_joint_training():
    algorithm = maml(MODEL, LOSS, steps=0)
    task, meta = small_task(1), algorithm.init(jax.random.key(0))
    meta_gradient, _ = jax.jit(algorithm.outer)(meta, task)
    expected = jax.jit(jax.grad(LOSS))(meta.learned["theta"], task.query, None)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), meta_gradient["theta"], expected
    )


def test_a_fixed_rate_is_the_same_as_equal_learned_rates():
    task = small_task(1)
    fixed, free = (
        maml(MODEL, LOSS, steps=STEPS, rate=0.1, learn_rate=flag) for flag in (False, True)
    )
    key = jax.random.key(0)
    phis = [jax.jit(a.adapt)(a.init(key), task.support, key) for a in (fixed, free)]
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), *phis)


def test_transfer_trains_the_output_of_the_structure_alone():
    algorithm = CASES["transfer"].make(pixel_loss)
    meta = algorithm.init(jax.random.key(0))
    meta_gradient, _ = jax.jit(algorithm.outer)(meta, small_task(1))
    kernel = np.asarray(meta_gradient["theta"]["head"]["kernel"])
    assert (kernel[:, 0] == 0).all() and (kernel[:, 1] != 0).any()


def test_the_weight_of_the_steps_moves_from_all_alike_to_the_last_alone():
    weights = [np.asarray(importance(4, jnp.asarray(made), 10)) for made in (0, 5, 10, 1000)]
    np.testing.assert_allclose(weights[0], 0.25)
    np.testing.assert_allclose(weights[1], [0.125, 0.125, 0.125, 0.625])
    np.testing.assert_allclose(weights[2:], [[0, 0, 0, 1]] * 2)
    np.testing.assert_allclose(importance(4, jnp.asarray(0), 0), [0, 0, 0, 1])


def test_what_an_algorithm_moves_is_all_that_changes():
    algorithm = CASES["anil"].make(pixel_loss)
    meta = algorithm.init(jax.random.key(0))
    phi = jax.jit(algorithm.adapt)(meta, small_task(1).support, jax.random.key(1))
    np.testing.assert_array_equal(phi["trunk"]["kernel"], meta.learned["theta"]["trunk"]["kernel"])
    assert (phi["head"]["kernel"] != meta.learned["theta"]["head"]["kernel"]).all()


def test_a_structure_with_the_features_of_its_support_is_found_by_its_prototype():
    identity = Model(lambda key: (), lambda v, image, *a, **k: (image, ()))
    algorithm = prototypes(identity, segmentation_loss)
    mask = np.zeros((2, 8, 8), np.uint8)
    mask[:, 2:5, 3:6] = 1
    image = np.where(mask[..., None], [1.0, 0.2], [-0.3, 1.0]).astype(np.float32)
    meta = algorithm.init(jax.random.key(0))
    support = Examples(jnp.asarray(image), jnp.asarray(mask), np.array([True, False]))
    phi = jax.jit(algorithm.adapt)(meta, support, jax.random.key(1))
    logits = jax.jit(algorithm.predict)(meta, phi, jnp.asarray(image[:, ::-1]))
    found = np.asarray(logits)[..., 0] > 0
    np.testing.assert_array_equal(found, mask[:, ::-1] > 0)
