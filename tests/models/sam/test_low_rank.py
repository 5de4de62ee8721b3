"""Segment Anything without prompts: it begins as it was, and learns in its thin parts alone."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.errors import BadInput
from jaxmeta.models.model import Trained, begin_with
from jaxmeta.models.sam.images import PREPROCESSING, slices_as_colors
from jaxmeta.models.sam.low_rank import FROZEN, LEARNED, SEEN, begun_by, low_rank_sam, seen
from jaxmeta.models.sam.sam import sam
from tests.helpers.sizes import SMALL

SAM = sam(SMALL)
WEIGHTS = jax.jit(SAM.init)(jax.random.key(1))
MODEL = begin_with(low_rank_sam(SMALL, rank=2), begun_by(WEIGHTS))
VARIABLES = jax.jit(MODEL.init)(jax.random.key(0))
IMAGE = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 16, 1)), jnp.float32)


@jax.jit
def logits(variables, image):
    return MODEL.apply(variables, image, state=MODEL.state())[0]


def test_it_begins_as_the_network_that_is_pointed_at_nothing():
    assert jax.tree.all(jax.tree.map(np.array_equal, VARIABLES[LEARNED], WEIGHTS[LEARNED]))
    embedding = jax.jit(lambda x: SAM.encode(WEIGHTS, slices_as_colors(x)))(IMAGE)
    mask, _ = jax.jit(partial(SAM.decode, WEIGHTS))(embedding)
    wanted = jax.image.resize(mask, (2, 16, 16, 1), "linear")
    np.testing.assert_allclose(logits(VARIABLES, IMAGE), wanted, atol=1e-5)


def test_frozen_weights_are_handed_on_and_thin_ones_count():
    handed = jax.eval_shape(partial(MODEL.apply, state=MODEL.state()), VARIABLES, IMAGE)[1]
    assert set(handed) == {*FROZEN, SEEN} and not set(handed) & set(VARIABLES)
    sizes = [leaf.size for leaf in jax.tree.leaves(VARIABLES["adapter"])]
    assert sizes == [SMALL.width * 2] * 4 * SMALL.depth  # two matrices for queries, two for values
    slope = jax.jit(jax.grad(lambda v: (logits(v, IMAGE) ** 2).sum()))(VARIABLES)
    for block in slope["adapter"].values():
        for name in "qv":
            assert (
                float(jnp.abs(block[name]["up"]).max())
                > 0
                == float(jnp.abs(block[name]["down"]).max())
            ), "the first step moves what began at zero"


def test_slices_are_shown_as_the_frozen_weights_saw_theirs():
    how = PREPROCESSING["medsam"]
    model = begin_with(low_rank_sam(SMALL, rank=2), begun_by(WEIGHTS, how))
    found = jax.jit(lambda v, x: model.apply(v, x, state=model.state())[0])(VARIABLES, IMAGE)
    np.testing.assert_allclose(
        seen(IMAGE, model.state()), slices_as_colors(IMAGE, how), rtol=1e-6, atol=1e-6
    )
    assert float(jnp.abs(found - logits(VARIABLES, IMAGE)).max()) > 1e-3


def test_weights_of_another_size_are_no_beginning():
    other = jax.tree.map(lambda leaf: leaf[..., :1], MODEL.state())
    assert jax.tree.structure(other) == jax.tree.structure(MODEL.state())
    with pytest.raises(BadInput, match="other frozen weights"):
        begin_with(MODEL, Trained(VARIABLES, other))
