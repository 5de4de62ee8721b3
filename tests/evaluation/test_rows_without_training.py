"""Rows that learn nothing, as a test asks them."""

import numpy as np

from jaxmeta.atlas import Atlas, segment
from jaxmeta.evaluation.scoring import whole_volume
from jaxmeta.evaluation.segmenter import together
from jaxmeta.evaluation.trial import Support, atlases, places
from jaxmeta.evaluation.untrained import place_and_intensity
from jaxmeta.tasks.task import Examples

SIZE = 24


def support(seed, shots=3, padding=0):
    """Draw a bright disk in noise, of two scans, and slices that only fill the shape."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    disk = ((y - 10) ** 2 + (x - 13) ** 2 < 25).astype(np.uint8)
    image = rng.normal(size=(shots, SIZE, SIZE, 1)).astype(np.float32) * 0.2 + disk[..., None]
    mask, place = np.repeat(disk[None], shots, 0), np.linspace(0.3, 0.7, shots, dtype=np.float32)
    names = tuple(f"a/{n % 2}:{n}" for n in range(shots))
    wide = [(0, padding), (0, 0), (0, 0)]
    examples = Examples(
        np.pad(image, [*wide, (0, 0)], constant_values=7),
        np.pad(mask, wide, constant_values=1),
        np.arange(shots + padding) < shots,
    )
    place = np.pad(place, (0, padding))
    return Support(examples, place, ("a/0", "a/1"), names + ("",) * padding)


def test_slices_that_only_fill_a_support_are_no_part_of_the_atlas():
    filled, bare = (atlases(together([support(0, padding=n)]))[0] for n in (2, 0))
    for one, other in zip(filled, bare, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(bare.scan, [0, 1, 0])


def test_a_volume_is_seen_whole_whatever_the_chunk():
    row = place_and_intensity("row")
    supports = [support(0), support(1)]
    image = support(5, shots=9).examples.image
    fitted = row.fit(together(supports), None)
    found = whole_volume(row, fitted, image, chunk=4)
    assert found.shape == (2, 9, SIZE, SIZE)
    for number, one in enumerate(supports):
        atlas = Atlas(one.examples.image[..., 0], one.examples.mask, one.place, np.array([0, 1, 0]))
        alone = segment(atlas, image[..., 0], places(9))
        np.testing.assert_array_equal(found[number], alone)


def test_a_slice_alone_lies_where_the_labelled_ones_do():
    row = place_and_intensity("row")
    fitted = row.fit(together([support(0)]), None)
    image = support(5, shots=9).examples.image
    (found,) = whole_volume(row, fitted, image[4:5])
    truth = support(0).examples.mask[0] > 0
    each = found[0] > 0.5
    assert 2 * (each & truth).sum() / (each.sum() + truth.sum()) > 0.9


def test_within_a_volume_a_chunk_lies_where_its_support_does():
    row = place_and_intensity("row")
    fitted = row.fit(together([support(0, shots=1), support(1, shots=1)]), None)
    image = np.stack([support(n, shots=4).examples.image for n in (3, 4)])
    found = row.segment_each(fitted, image)
    truth = support(0).examples.mask[0] > 0
    assert found.shape == (2, 4, SIZE, SIZE)
    for each in found.reshape(-1, SIZE, SIZE) > 0.5:
        assert 2 * (each & truth).sum() / (each.sum() + truth.sum()) > 0.9
