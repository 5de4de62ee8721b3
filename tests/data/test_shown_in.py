"""Shards that were prepared elsewhere are shown in the frame that a run learned from: slices,
masks, counts."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jaxmeta.data.grid import from_slices, grid_by, sliced_shape, to_slices
from jaxmeta.data.orientation import ACQUIRED
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import holders, open_shards, shown_in
from tests.helpers.scans import anatomy, oriented, save

IMAGE, LABEL = anatomy()
# All in which slices lie along the head's axis, as they were acquired.
FRAMES = [
    np.eye(3)[list(order)] * (2 * np.array(signs)[:, None] - 1.0)
    for order in ((2, 0, 1), (2, 1, 0))
    for signs in np.ndindex(2, 2, 2)
]


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("shown")
    save(root / "in/a.nii.gz", IMAGE, oriented("LPS"))
    save(root / "in/a_seg.nii.gz", LABEL, oriented("LPS"))
    names = dict(labels=["1=x", "2=y"], modality=["mr"])
    prepare([root / "in"], root / "out", size=16, workers=1, **names)
    return open_shards([root / "out"])


@given(st.sampled_from(FRAMES), st.sampled_from(FRAMES))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=40)
def test_a_volume_is_read_as_if_it_had_been_prepared_in_the_frame(shards, frame, before):
    """Whatever it was shown in before."""
    (volume,) = shards.volumes
    turned = shown_in(shown_in(shards, [before]), [frame])
    grid = turned.volumes[0].grid
    expected = grid_by(ACQUIRED, volume.grid.shape, volume.grid.affine, b"", frame)
    assert grid.order == expected.order
    every = range(sliced_shape(grid)[0])
    back = np.zeros(LABEL.shape, np.uint8)
    for value, name in ((1, "x"), (2, "y")):
        masks = load_masks(turned, 0, every, name)
        np.testing.assert_array_equal(masks, to_slices((LABEL == value).astype(np.uint8), expected))
        np.testing.assert_array_equal(masks.sum((1, 2)), turned.volumes[0].counts[name])
        ((_, slices),) = holders(turned, name)[volume.patient]
        np.testing.assert_array_equal(slices, np.flatnonzero(masks.any((1, 2))))
        back[from_slices(masks, grid) > 0] = value
    np.testing.assert_array_equal(back, LABEL)
    # resized to a square, so that all compare
    straight = load_images(shards, 0, every, size=24)[..., 0]
    again = load_images(turned, 0, every, size=24)[..., 0]
    (files, flips), (before, old) = grid.order, volume.grid.order
    crossed = files != before
    again = again.transpose(0, 2, 1) if crossed else again
    flips = (flips[0], flips[2], flips[1]) if crossed else flips
    again = np.flip(again, [axis for axis in range(3) if flips[axis] != old[axis]])
    np.testing.assert_allclose(again, straight, atol=1e-5)
