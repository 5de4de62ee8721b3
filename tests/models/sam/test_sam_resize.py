"""Weights fitted to other images once are those whose tables are interpolated at every look."""

import jax
import numpy as np
import pytest

from jaxmeta.errors import BadInput
from jaxmeta.models.sam import sam
from jaxmeta.models.sam.resize import for_image
from tests.helpers.by_hand import begun, drawn
from tests.helpers.sizes import SMALL

LARGER = 2 * SMALL.image


def test_an_encoder_fitted_to_larger_images_sees_them_as_the_unfitted_one_does():
    network = sam(SMALL)
    variables = begun(network.init)
    image = drawn(1, LARGER, LARGER, 3, seed=1)
    encoder, size = for_image(variables["image_encoder"], SMALL, LARGER)
    assert size.image == LARGER and encoder["pos_embed"].shape[0] == 2 * SMALL.grid
    fitted = jax.jit(sam(size).encode)(variables | {"image_encoder": encoder}, image)
    unfitted = jax.jit(network.encode)(variables, image)
    np.testing.assert_allclose(fitted, unfitted, atol=2e-5)


def test_at_its_own_size_an_encoder_is_left_alone():
    encoder = {"pos_embed": np.zeros(3)}
    assert for_image(encoder, SMALL, SMALL.image) == (encoder, SMALL)


def test_images_that_patches_do_not_tile_are_refused():
    with pytest.raises(BadInput, match="multiple of the patch"):
        for_image({}, SMALL, SMALL.image + 1)
