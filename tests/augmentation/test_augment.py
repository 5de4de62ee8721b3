"""Augmentation may make another task, never one whose support and query disagree."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.augmentation.augment import Augmentation, augment, upright, varied
from jaxmeta.tasks.task import Examples, Task

NOTHING = Augmentation(*[0.0] * 14)
BENT = Augmentation(invert=0.5, elastic=1e-7, task_elastic=1e-7)  # by next to nothing
SIDE = 16


def task(seed: int = 0) -> Task:
    """A square off the center, brighter than its background, in every slice."""
    mask = np.zeros((3, SIDE, SIDE), np.uint8)
    mask[:, 2:8, 3:7] = 1
    image = mask[..., None] * 2.0 - 0.5
    examples = Examples(*map(jnp.asarray, (image.astype(np.float32), mask, np.ones(3, bool))))
    key = jax.random.key_data(jax.random.key(seed))
    return Task(examples, examples, key, jnp.zeros(2, jnp.int32))


changed = jax.jit(augment, static_argnums=1)


def test_nothing_asked_is_nothing_done():
    same = changed(task(), NOTHING)
    for was, now in zip(jax.tree.leaves(task()), jax.tree.leaves(same), strict=True):
        np.testing.assert_allclose(was, now, atol=1e-6)


def test_the_same_key_gives_the_same_change_and_another_key_another():
    one, again, other = changed(task(0), BENT), changed(task(0), BENT), changed(task(1), BENT)
    jax.tree.map(np.testing.assert_array_equal, one, again)
    assert (one.support.image != other.support.image).any()


def test_flips_and_inversion_are_shared_by_the_whole_task():
    how = replace(NOTHING, flip=0.5, invert=0.5)
    seen = set()
    for seed in range(64):
        new = changed(task(seed), how)
        images = np.concatenate([new.support.image, new.query.image])
        masks = np.concatenate([new.support.mask, new.query.mask])
        assert (images == images[0]).all() and (masks == masks[0]).all()
        seen.add(
            (images[0, 0, 0, 0] > 0, masks[0, 2, 3] > 0, masks[0, 2, 12] > 0, masks[0, 13, 3] > 0)
        )
    assert len(seen) == 8  # inverted or not, each of four mirror images


@pytest.mark.parametrize("seed", range(4))
def test_the_mask_moves_with_the_image(seed):
    how = replace(NOTHING, flip=0.5, rotate=30.0, zoom=0.2, shift=0.1, elastic=0.02)
    new = changed(task(seed), how)
    for examples in (new.support, new.query):
        inside = np.asarray(examples.image[..., 0]) > 0.5  # half way between the two intensities
        mask = np.asarray(examples.mask) > 0
        both, either = (inside & mask).sum(), (inside | mask).sum()
        assert both / either > 0.9
        assert set(np.unique(examples.mask)) == {0, 1}


@pytest.mark.parametrize("how", [dict(rotate=10.0, zoom=0.1, shift=0.05), dict(elastic=0.1)])
def test_images_of_a_task_move_apart(how):
    new = changed(task(), replace(NOTHING, **how))
    masks = [np.asarray(m) for m in (*new.support.mask, *new.query.mask)]
    assert len({m.tobytes() for m in masks}) == 6


@pytest.mark.parametrize(
    "how", [dict(task_rotate=90.0, task_zoom=0.5, task_shift=0.1), dict(task_elastic=0.1)]
)
def test_a_pose_of_the_task_is_shared_by_all_its_images_and_differs_from_task_to_task(how):
    how = replace(NOTHING, **how)
    seen = set()
    for seed in range(8):
        new = changed(task(seed), how)
        masks = np.concatenate([new.support.mask, new.query.mask])
        assert (masks == masks[0]).all() and masks[0].any()
        seen.add(masks[0].tobytes())
    assert len(seen) == 8


def test_without_displacements_the_program_has_no_trace_of_them():
    program = changed.lower(task(), Augmentation()).as_text()
    assert changed.lower(task(), Augmentation(elastic_cells=9)).as_text() == program
    assert "dot_general" not in program
    bent = changed.lower(task(), Augmentation(elastic=0.01)).as_text()
    assert "dot_general" in bent


def test_displacements_leave_all_other_draws_as_they_were():
    plain = changed(task(), replace(BENT, elastic=0.0, task_elastic=0.0))
    bent = changed(task(), BENT)
    for was, now in zip(jax.tree.leaves(plain), jax.tree.leaves(bent), strict=True):
        np.testing.assert_allclose(was, now, atol=1e-4)


def test_intensity_changes_leave_the_mask_alone():
    new = changed(task(), replace(NOTHING, gain=0.3, offset=0.3, noise=0.1))
    np.testing.assert_array_equal(new.support.mask, task().support.mask)
    assert (new.support.image != task().support.image).all()


def test_a_bent_curve_makes_another_contrast_of_the_whole_task():
    """Square and background get other shades, the same in all images, and 0 bends nothing."""
    shades = set()
    for seed in range(4):
        new = changed(task(seed), replace(NOTHING, curve=0.5))
        images = np.concatenate([new.support.image, new.query.image])[..., 0]
        masks = np.concatenate([new.support.mask, new.query.mask]) > 0
        np.testing.assert_array_equal(masks, np.concatenate([task().support.mask] * 2) > 0)
        inside, outside = np.unique(images[masks]), np.unique(images[~masks])
        assert len(inside) == len(outside) == 1
        assert abs(inside[0] - 1.5) < 2.5 and abs(outside[0] + 0.5) < 2.5
        shades.add((float(inside[0]), float(outside[0])))
    assert len(shades) == 4


def test_upright_changes_keep_an_anatomy_the_right_way_round():
    asked = Augmentation(
        flip=0.5, invert=0.5, curve=1.0, task_elastic=0.01, zoom=0.1, elastic=0.01, elastic_cells=3
    )
    how = upright(asked, 2.0)
    assert (how.flip, how.invert, how.curve, how.task_elastic) == (0.0, 0.0, 0.0, 0.0)
    assert (how.rotate, how.zoom, how.noise) == (20.0, 0.2, 0.1)
    assert (how.elastic, how.elastic_cells) == (0.02, 3)


def test_a_varied_loss_sees_other_examples_with_every_key_and_the_mask_with_its_image():
    def overlap(variables, examples, key):
        inside = (examples.image[..., 0] > 0.5) == (examples.mask > 0)
        return jnp.stack([inside.mean(), examples.image.mean()])

    loss = jax.jit(varied(overlap, replace(NOTHING, rotate=30.0, shift=0.1)))
    one, again, other = (loss((), task().support, jax.random.key(k)) for k in (0, 0, 1))
    np.testing.assert_array_equal(one, again)
    assert one[1] != other[1]
    assert min(one[0], other[0]) > 0.95  # all but pixels of the outline
