"""Images into the network's square and masks back: nothing moves on the way."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxmeta.errors import BadInput
from jaxmeta.models.sam import Prompts
from jaxmeta.models.sam.attention import interpolation
from jaxmeta.models.sam.images import (
    MEAN,
    PREPROCESSING,
    STD,
    as_colors,
    fitted,
    in_frame,
    layout_of,
    normalized,
    restored,
)
from tests.helpers.by_hand import drawn

sides = st.integers(20, 90)


@settings(max_examples=20)
@given(height=sides, width=sides)
def test_the_longer_side_fills_the_square_and_proportions_stay(height, width):
    inner = layout_of(height, width, 64).inner
    assert max(inner) == 64
    assert abs(inner[0] / inner[1] - height / width) <= 1 / min(inner) * max(1, height / width)


@settings(max_examples=10, deadline=None)
@given(
    shape=st.sampled_from([(48, 48), (30, 60), (60, 33)]),
    place=st.tuples(st.floats(0.3, 0.7), st.floats(0.3, 0.7)),
)
def test_a_disk_comes_back_where_it_was_and_a_click_on_it_stays_on_it(shape, place):
    height, width = shape
    y, x = place[0] * height, place[1] * width
    rows, columns = np.mgrid[:height, :width]
    disk = ((rows - y) ** 2 + (columns - x) ** 2 < 49).astype(np.float32)
    frame = layout_of(height, width, 64)
    seen = fitted(as_colors(jnp.asarray(disk)[None, ..., None], 0, 1), frame)
    red = seen[..., :1] * STD[0] + MEAN[0]  # 0 and 255 again, where the image is
    click = in_frame(Prompts(points=np.array([[[x, y]]]), labels=np.ones((1, 1), int)), frame)
    at = np.floor(np.asarray(click.points)[0, 0]).astype(int)
    assert red[0, at[1], at[0], 0] > 200
    back = np.asarray(restored(red[:, ::4, ::4] * 0 + pooled(red), frame))[0, ..., 0] > 127
    assert 2 * (back & (disk > 0)).sum() / (back.sum() + disk.sum()) > 0.8


def pooled(image):
    """Shrink a square to a quarter of its side, as the decoder's logits are."""
    n, side, _, c = image.shape
    return image.reshape(n, side // 4, 4, side // 4, 4, c).mean((2, 4))


def test_padding_is_zero_after_normalization_and_lies_below_or_on_the_right():
    seen = fitted(jnp.full((1, 32, 64, 3), 200.0), layout_of(32, 64, 64))
    assert (seen[:, :32] != 0).all() and (seen[:, 32:] == 0).all()
    np.testing.assert_allclose(seen[0, 0, 0], (200 - np.array(MEAN)) / STD, rtol=1e-5)


def test_sixteen_bits_are_stretched_and_grey_becomes_three_channels():
    seen = as_colors(jnp.array([[[[-1.0], [0.0], [32768.0], [65536.0], [1e6]]]]), 0, 65536)
    np.testing.assert_allclose(seen[0, 0, :, 1], [0, 0, 127.5, 255, 255])
    assert seen.shape == (1, 1, 5, 3)
    with pytest.raises(BadInput, match="images of 4 channels: 1 .grey. or 3"):
        as_colors(jnp.zeros((1, 4, 4, 4)), 0, 1)


def test_what_cannot_be_shown_is_refused_with_its_numbers():
    with pytest.raises(BadInput, match="8 x 300 pixels is smaller than one patch of 16 x 16"):
        layout_of(8, 300, 1024)
    frame = layout_of(40, 60, 64)
    with pytest.raises(BadInput, match="a click at x 61, y 5 lies outside .* 60 x 40"):
        in_frame(Prompts(points=np.array([[[61, 5]]]), labels=np.array([[1]])), frame)
    with pytest.raises(BadInput, match="a corner of a box at x 3, y -1"):
        in_frame(Prompts(boxes=np.array([[3, -1, 9, 9]])), frame)
    filled = Prompts(points=np.array([[[99, 99]]]), labels=np.array([[-1]]))
    assert in_frame(filled, frame).labels[0, 0] == -1  # padding lies nowhere


@pytest.mark.parametrize("height, width", [(32, 64), (37, 33)])
def test_images_are_shrunk_with_antialiasing_and_masks_without(height, width):
    frame = layout_of(4 * height, 4 * width, 64)
    fine = np.indices((4 * height, 4 * width)).sum(0) % 4 < 2  # diagonal stripes of 4 pixels
    colors = np.broadcast_to(255.0 * fine[None, ..., None], (1, *fine.shape, 3))
    seen = fitted(jnp.asarray(colors, jnp.float32), frame)
    high, wide = frame.inner
    grey = normalized(jnp.full((1, 1, 1, 3), 127.5))
    assert np.abs(seen[:, 2 : high - 2, 2 : wide - 2] - grey).mean() < 0.5
    logits = drawn(1, 16, 16, 1)
    small = layout_of(height // 2, width // 2, 64)
    high, wide = small.inner
    double = interpolation(16, 64)
    square = (double @ np.asarray(logits[0, ..., 0]) @ double.T)[:high, :wide]
    rows, columns = interpolation(high, height // 2), interpolation(wide, width // 2)
    np.testing.assert_allclose(
        restored(logits, small)[0, ..., 0], rows @ square @ columns.T, atol=1e-5
    )


def test_medsam_sees_the_whole_square_from_0_to_1_and_a_click_where_it_lies():
    preprocessing = PREPROCESSING["medsam"]
    frame = layout_of(32, 64, 64, stretched=preprocessing.stretched)
    grey = jnp.asarray(np.linspace(0, 255, 32))[None, :, None, None] * jnp.ones((1, 32, 64, 3))
    seen = fitted(grey, frame, preprocessing)[..., 0]
    assert seen.shape == (1, 64, 64) and seen.min() == 0 and seen.max() == 1
    np.testing.assert_allclose(seen[0, :, 7], np.clip((np.arange(64) - 0.5) / 62, 0, 1), atol=1e-6)
    click = in_frame(Prompts(points=np.array([[[10, 20]]]), labels=np.ones((1, 1), int)), frame)
    np.testing.assert_array_equal(click.points[0, 0], [10, 40])
    back = restored(seen[..., None], frame)
    np.testing.assert_allclose(back[0, 4:28, :, 0], grey[0, 4:28, :, 0] / 255, atol=0.02)


def test_of_a_ribbon_something_is_seen():
    assert layout_of(16, 9000, 64).inner == (1, 64) and layout_of(9000, 16, 64).inner == (64, 1)


def test_the_shorter_side_is_rounded_to_the_nearest_pixel():
    assert layout_of(37, 100, 64).inner == (24, 64)  # 23.68
    assert layout_of(100, 36, 64).inner == (64, 23)  # 23.04
