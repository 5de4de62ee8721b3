"""What slices are told: by nobody who knows their masks, and the same in training and in use."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from jaxmeta.atlas import Atlas, Rule, evidence, segment
from jaxmeta.data.shards.load import load_images
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.trial import places
from jaxmeta.methods.networks.unet import Unet
from jaxmeta.runs.build import task_source
from jaxmeta.runs.checks import check
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import split
from jaxmeta.tasks.prompter import EVIDENCE, HEIGHTS, filled, heights, labelled_slices, remembering
from jaxmeta.tasks.source import load_task

SIZE = 24


def labelled(scans=(0, 0, 0, 0), seed=0):
    """Draw labelled slices: a bright disk that moves a little, in noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    centers = 11 + rng.integers(-1, 2, (len(scans), 2))
    mask = np.stack([(y - a) ** 2 + (x - b) ** 2 < 25 for a, b in centers]).astype(np.uint8)
    image = (mask + 0.2 * rng.normal(size=mask.shape)).astype(np.float32)
    return Atlas(image, mask, np.linspace(0.2, 0.8, len(scans), dtype=np.float32), np.array(scans))


def test_the_logit_is_the_rules_answer():
    atlas, other = labelled(), labelled(seed=1)
    told = EVIDENCE.query(atlas, other.image, other.height)
    answer = segment(atlas, other.image, other.height)
    np.testing.assert_allclose(1 / (1 + np.exp(-told[..., 0])), answer, atol=1e-5)
    said = evidence(atlas, other.image, other.height)
    np.testing.assert_allclose(told[..., 0], said.place + Rule().weight * said.ratio, rtol=1e-6)
    assert told.dtype == np.float32 and told.shape == (4, SIZE, SIZE, 4)


@pytest.mark.parametrize("scans", [(0, 0, 0, 0), (0, 0, 1, 1), (0, 1, 2, 2)])
def test_a_labelled_slice_is_told_by_others_alone(scans):
    """Whatever stands in its own mask, and, of several scans, in the masks of its scan."""
    atlas = labelled(scans)
    told = EVIDENCE.support(atlas)
    for number in range(4):
        mask = atlas.mask.copy()
        mask[number] = np.roll(mask[number], 5, axis=1)
        changed = EVIDENCE.support(atlas._replace(mask=mask))
        blind = np.array(scans) == scans[number]
        if len(set(scans)) == 1:
            blind = np.arange(4) == number
        np.testing.assert_array_equal(changed[blind], told[blind])
        assert np.abs(changed[~blind] - told[~blind]).max() > 0.1


def test_one_labelled_slice_is_told_by_itself():
    atlas = labelled((0,))
    own = EVIDENCE.query(atlas, atlas.image, atlas.height)
    np.testing.assert_array_equal(EVIDENCE.support(atlas), own)


def test_order_of_the_support_is_order_of_what_it_is_told():
    atlas, order = labelled((0, 1, 0, 1)), [2, 0, 3, 1]
    other = Atlas(*(each[order] for each in atlas))
    for prompter in (HEIGHTS, EVIDENCE):
        told = prompter.support(atlas)
        np.testing.assert_allclose(prompter.support(other), told[order], atol=1e-5)


def test_what_was_asked_last_is_remembered():
    asked = []

    def query(labelled, image, height):
        asked.append(1)
        return image + height.sum() + labelled.mask.sum()

    once = remembering(EVIDENCE._replace(query=query), most=2)
    atlas, image, height = labelled(), np.ones((2, 3, 3)), np.zeros(2)
    for _ in range(2):
        np.testing.assert_array_equal(once.query(atlas, image, height), image + atlas.mask.sum())
    assert len(asked) == 1
    once.query(atlas, image, height + 1)
    once.query(atlas._replace(mask=0 * atlas.mask), image, height)
    assert len(asked) == 3
    once.query(atlas, image, height)  # two are newer
    assert len(asked) == 4


def test_what_only_fills_the_shape_is_told_nothing():
    valid = np.array([True, False, True])
    for prompter, nothing in ((HEIGHTS, -1), (EVIDENCE, 0)):
        whole = filled(np.ones((2, 5), np.float32), valid, prompter.nothing)
        np.testing.assert_array_equal(whole, [[1] * 5, [nothing] * 5, [1] * 5])


@pytest.fixture(scope="module")
def told(config, shards):
    """A source of tasks whose slices are told by the atlas, and the pool that it draws from."""
    few = replace(config, network=replace(config.network, prior="atlas"))
    parts = split(shards, test_organs=["spleen"], val_organs=["heart"], seed=0)
    return task_source(few, drawn := pool(shards, parts, "train")), drawn


def test_a_task_is_told_what_a_test_would_be(told):
    """Each query slice by the whole support, beside eight more slices of its scan."""
    source, drawn = told
    episode, task = source.draw(0, 3), load_task(source, 0, 3)
    scans = [volume for volume, _ in episode.support]
    atlas = labelled_slices(task.support, heights(drawn, episode.support), scans)
    count = len(episode.support)
    np.testing.assert_array_equal(task.support.prompt[:count], EVIDENCE.support(atlas))
    for volume in {volume for volume, _ in episode.query}:
        own = [place for place, (of, _) in enumerate(episode.query) if of == volume]
        length = len(drawn.shards.volumes[volume].counts[episode.organ])
        along = [(2 * n + 1) * length // 16 for n in range(8)]
        more = load_images(drawn.shards, volume, along, size=16)
        image = np.concatenate([task.query.image[own], more])[..., 0]
        number = [episode.query[place][1] for place in own] + along
        said = EVIDENCE.query(atlas, image, places(length)[number])
        np.testing.assert_array_equal(task.query.prompt[own], said[: len(own)])


def test_its_source_goes_to_other_processes(told):
    source, _ = told
    again = pickle.loads(pickle.dumps(source))
    for one, other in zip(load_task(source, 1, 2), load_task(again, 1, 2), strict=True):
        np.testing.assert_array_equal(getattr(one, "prompt", one), getattr(other, "prompt", other))


def test_the_atlas_is_not_asked_about_what_the_device_makes(config):
    network = replace(config.network, prior="atlas")
    with pytest.raises(BadInput, match="`network.prior=atlas` with `tasks.kind=synthetic`"):
        check(replace(config, network=network, tasks=replace(config.tasks, kind="synthetic")))
    assert Unet().prior == "none"
