"""A model may begin with what others have learned."""

import jax
import numpy as np

from jaxmeta.models import begin_with
from tests.helpers.small import small_model


def test_what_fits_is_taken_over_and_another_head_is_drawn_as_before():
    one, three = small_model(1), small_model(3)
    learned = three.init(jax.random.key(1))
    fresh, begun = (m.init(jax.random.key(2)) for m in (one, begin_with(one, learned)))
    np.testing.assert_array_equal(begun["trunk"]["kernel"], learned["trunk"]["kernel"])
    jax.tree.map(np.testing.assert_array_equal, begun["head"], fresh["head"])
    assert (fresh["trunk"]["kernel"] != learned["trunk"]["kernel"]).any()


def test_a_network_of_the_same_shape_is_taken_over_whole():
    model = small_model()
    learned = model.init(jax.random.key(1))
    begun = jax.jit(begin_with(model, learned).init)(jax.random.key(2))
    jax.tree.map(np.testing.assert_array_equal, begun, learned)
