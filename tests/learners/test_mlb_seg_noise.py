"""Weights against wrong labels: phantoms whose slices are mislabelled as L2B does it (arXiv
2202.04291)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import mannwhitneyu

from jaxmeta.data.grid import sliced_shape
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.learners.mlb_seg import Rule, drawn, merged, mlb_seg, watched
from jaxmeta.methods.mlb_seg.method import forward_of
from jaxmeta.models import unet
from jaxmeta.phantoms.write import write_phantoms
from jaxmeta.tasks.task import Examples, Task

SIZE, PUBLISHED_SIZE = 64, 144
CLEAN, UNLABELLED, CORRUPTED, STEPS = 4, 8, 0.4, 24
KERNELS, OFTEN = (7, 14, 21, 28, 35), (0.1, 0.1, 0.3, 0.2, 0.3)


def corrupted(mask, rng):
    """Turn a mask by up to 20 degrees, erode or dilate it, and let an ellipse stand for half of
    them; kernels are as large of a slice as of one of 144 pixels.

    There slices of 300 pixels of the organ and fewer keep their labels, here none does.
    """
    scale = SIZE / PUBLISHED_SIZE
    mask = ndimage.rotate(mask.astype(float), rng.uniform(-20, 20), reshape=False, order=1) > 0.5
    side = max(1, round(rng.choice(KERNELS, p=OFTEN) * scale))
    change = ndimage.binary_erosion if rng.random() < 0.5 else ndimage.binary_dilation
    mask = change(mask, np.ones((side, side)))
    if rng.random() < 0.5 and mask.any():
        (top, bottom), (left, right) = ((at.min(), at.max()) for at in np.nonzero(mask))
        y, x = np.mgrid[:SIZE, :SIZE]
        down, along = (bottom - top + 1) / 2, (right - left + 1) / 2
        inside = ((y - (top + bottom) / 2) / down) ** 2 + ((x - (left + right) / 2) / along) ** 2
        mask = inside <= 1
    return mask


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    root = tmp_path_factory.mktemp("noise")
    write_phantoms(root / "phantoms", patients=dict(test=CLEAN + UNLABELLED))
    folders = [root / "phantoms" / name for name in ("phantom_x", "phantom_y")]
    prepare(folders, root / "shards", size=SIZE, workers=1)
    return open_shards([root / "shards"])


def slices_of(shards, organ):
    """Read the slices of each scan that has the organ, and its masks."""
    for number, volume in enumerate(shards.volumes):
        if organ in volume.counts:
            slices = range(sliced_shape(volume.grid)[0])
            image = load_images(shards, number, slices, size=SIZE)
            yield image, load_masks(shards, number, slices, organ, size=SIZE) > 0


@pytest.mark.slow
@pytest.mark.parametrize("organ", ["triangle_x", "teardrop_y"])
def test_wrong_labels_weigh_less(organ, shards):
    """Over the first steps, from a network that has learned nothing and at the published rate, the
    area under the ROC of a label's weight against its correctness is over 0.85.

    Of all pixels of the slices as they are; labels far from the organ are right, and count.
    """
    rng = np.random.default_rng(0)
    scans = list(slices_of(shards, organ))
    scans = [scans[n] for n in rng.permutation(len(scans))]
    clean, clean_truth = map(np.concatenate, zip(*scans[:CLEAN], strict=True))
    image, truth = map(np.concatenate, zip(*scans[CLEAN:], strict=True))
    hit = rng.random(len(truth)) < CORRUPTED
    given = np.stack([corrupted(m, rng) if h else m for m, h in zip(truth, hit, strict=True)])
    assert 0.3 < (given != truth).sum() / (given | truth).sum() < 0.6

    model, rule = unet((8, 16, 32)), Rule(lambda step: 0.005)
    forward = forward_of(model)
    learner = mlb_seg(forward, lambda key: (model.init(key), ()), rule)

    def examples(image, mask):
        return Examples(image, mask.astype(np.uint8), np.ones(len(image), bool))

    def batch(number):
        these = rng.permutation(len(clean))[:8]
        those = np.arange(4 * number, 4 * number + 4) % len(image)
        query = examples(image[those], given[those])
        key = np.asarray([0, number], np.uint32)
        task = Task(examples(clean[these], clean_truth[these]), query, key, np.zeros(2, np.int32))
        return those, jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], task)

    @jax.jit
    def weights(state, batch, key):
        sides = (jax.tree.map(merged, side) for side in (batch.query, batch.support))
        both = (drawn(side, key, rule) for side, key in zip(sides, jax.random.split(key)))
        return watched(forward, rule, state, *both)["weight"][..., 0]

    state, step = jax.jit(learner.init)(jax.random.key(0)), jax.jit(learner.step)
    total = np.zeros(given.shape)
    for number in range(STEPS):
        those, tasks = batch(number)
        total[those] += weights(state, tasks, jax.random.key(number))
        state, _ = step(state, tasks)
    seen = total.any((1, 2))
    right, wrong = ((given == truth)[seen], (given != truth)[seen])
    area = mannwhitneyu(total[seen][right], total[seen][wrong]).statistic
    assert area / (right.sum() * wrong.sum()) > 0.85
    assert total[seen][right].mean() > 3 * total[seen][wrong].mean()
