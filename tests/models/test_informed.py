"""A network that begins at the rule: what it gives untrained, and that it can leave it."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.evaluation.fitting import fresh
from jaxmeta.evaluation.scoring import whole_volume
from jaxmeta.evaluation.segmenter import networks, together
from jaxmeta.evaluation.untrained import place_and_intensity
from jaxmeta.methods.networks import network_of
from jaxmeta.methods.networks.unet import Unet
from jaxmeta.models.informed import CHANNELS, SUREST, TRUST
from jaxmeta.runs.config import Config
from jaxmeta.tasks.prompter import EVIDENCE
from tests.evaluation.test_rows_without_training import SIZE, support

CONFIG = Config(network=Unet(widths=(4, 8), groups=2, prior="atlas"))


def made(outputs=1, **how):
    return network_of(CONFIG).model(CONFIG, outputs, **how)


@pytest.fixture(scope="module")
def slices():
    image, told = jax.random.split(jax.random.key(0))
    image = jax.random.normal(image, (2, 16, 16, 1))
    return image, 20 * jax.random.normal(told, (2, 16, 16, CHANNELS))


def test_untrained_every_output_is_the_rules_logit(slices):
    model = made(3)
    logits, _ = model.apply(model.init(jax.random.key(1)), *slices)
    rule = jnp.clip(slices[1][..., :1], -SUREST, SUREST)
    np.testing.assert_array_equal(logits, jnp.broadcast_to(rule, (2, 16, 16, 3)))


def test_every_parameter_moves_it_once_the_output_layer_has_left_0(slices):
    model = made()
    variables = model.init(jax.random.key(1))
    head = jax.tree.map(lambda a: a + 0.1, variables["head"])

    def loss(variables):
        return (model.apply(variables, *slices)[0] ** 2).mean()

    gradient = jax.grad(loss)(variables | {"head": head})
    silent = [
        jax.tree_util.keystr(path)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)
        if not np.any(np.asarray(leaf))
    ]
    assert not silent and gradient[TRUST].shape == ()


def test_it_sees_each_kind_of_evidence(slices):
    model, (image, told) = made(4, features=True), slices
    variables = model.init(jax.random.key(1))
    assert TRUST not in variables
    for channel in range(CHANNELS):
        changed = told.at[..., channel].set(0.0)
        one, other = (model.apply(variables, image, each)[0] for each in (told, changed))
        assert np.abs(one - other).max() > 1e-3


def test_slices_without_evidence_are_refused(slices):
    model, (image, told) = made(), slices
    variables = model.init(jax.random.key(1))
    for wrong in ((), told[..., :2], told[:1]):
        with pytest.raises(ValueError, match="needs its evidence for every slice"):
            model.apply(variables, image, wrong)


def test_its_row_untrained_is_the_row_that_learns_nothing():
    """Through supports, whole volumes in chunks, and chunks of neighbors."""
    supports = together([support(0, padding=1), support(1, shots=4)])
    row = networks(fresh(made()), support_sets=2, prompter=EVIDENCE)("row", ())
    rule = place_and_intensity("rule")
    keys = np.zeros((2, 2), np.uint32)
    image = support(5, shots=9).examples.image
    fitted, known = row.fit(supports, keys), rule.fit(supports, keys)
    found = whole_volume(row, fitted, image, chunk=4)
    np.testing.assert_allclose(found, whole_volume(rule, known, image), atol=1e-5)
    chunks = np.stack([image[:3], image[4:7]])
    found = row.segment_each(fitted, chunks)
    assert found.shape == (2, 3, SIZE, SIZE)
    np.testing.assert_allclose(found, rule.segment_each(known, chunks), atol=1e-5)
