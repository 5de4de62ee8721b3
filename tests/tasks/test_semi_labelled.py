"""Tasks of labelled and unlabelled slices, and the labels that a network made."""

import json
import pickle

import numpy as np
import pytest

from jaxmeta.data.grid import sliced_shape
from jaxmeta.data.initial_labels import (
    TABLE,
    load_initial,
    load_probability,
    open_initial_labels,
    write_initial_labels,
)
from jaxmeta.data.shards import load as reading
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.errors import BadInput
from jaxmeta.splits.labelled import labelled_split
from jaxmeta.splits.pool import pool
from jaxmeta.tasks.episodes import EpisodeShape
from jaxmeta.tasks.semi_labelled import draw_mixed, every_slice, scans_labelled, semi_labelled
from jaxmeta.tasks.source import load_task

SHAPE = EpisodeShape(shots=2, queries=3, size=16)
ORGAN = "heart"


@pytest.fixture(scope="module")
def sides(shards):
    return labelled_split(shards, ORGAN, labelled=["1"], test_patients=["1"], seed=0)


@pytest.fixture(scope="module")
def made(shards, sides, tmp_path_factory):
    """Initial labels of everybody: half of each scan is the structure, surely, half may be."""

    def found():
        for volume in shards.volumes:
            probability = np.zeros(sliced_shape(volume.grid), np.float32)
            probability[:, : probability.shape[1] // 2] = 0.9
            yield volume, probability

    return write_initial_labels(tmp_path_factory.mktemp("labels"), ORGAN, "a" * 64, found())


@pytest.fixture(scope="module")
def source(shards, sides, made):
    everybody = sides.labelled + sides.unlabelled
    clean = sides
    drawn = pool(shards, clean, "train", single_patients=True)
    assert everybody
    return semi_labelled(drawn, SHAPE, every_slice(shards, drawn.unlabelled), made)


def test_a_task_is_clean_slices_and_initial_labels(source, shards, sides):
    for index in range(5):
        episode, task = source.draw(0, index), load_task(source, 0, index)
        assert {shards.volumes[v].patient for v, _ in episode.support} <= set(sides.labelled)
        assert {shards.volumes[v].patient for v, _ in episode.query} <= set(sides.unlabelled)
        for place, (volume, number) in enumerate(episode.support):
            truth = load_masks(shards, volume, [number], ORGAN, size=16)[0]
            np.testing.assert_array_equal(task.support.mask[place], truth)
        for place, (volume, number) in enumerate(episode.query):
            image = load_images(shards, volume, [number], size=16)[0]
            np.testing.assert_array_equal(task.query.image[place], image)
        assert task.query.mask[:, :8].all() and not task.query.mask[:, 8:].any()
        np.testing.assert_allclose(task.query.prompt[:, :7], 0.8, atol=0.01)
        assert task.support.valid.all() and task.query.valid.all()


def test_the_truth_of_the_unlabelled_is_never_read(source, shards, sides, monkeypatch):
    """It is poisoned: who reads it fails; every bit of the tasks is the same."""
    before = [load_task(source, 0, index) for index in range(4)]
    real = reading.load_masks

    def poisoned(of, volume, *more, **options):
        assert of.volumes[volume].patient in sides.labelled
        return real(of, volume, *more, **options)

    for place in ("jaxmeta.tasks.episodes.load_masks", "jaxmeta.data.shards.load.load_masks"):
        monkeypatch.setattr(place, poisoned)
    for index, task in enumerate(before):
        after = load_task(pickle.loads(pickle.dumps(source)), 0, index)
        for one, other in zip(task[:2], after[:2], strict=True):
            for a, b in zip(one, other, strict=True):
                np.testing.assert_array_equal(a, b)


def test_a_pass_sees_every_unlabelled_slice_once():
    clean, unlabelled = [(0, n) for n in range(4)], [(1, n) for n in range(10)]
    seen = [
        at for n in range(10) for at in draw_mixed("a", "b", clean, unlabelled, SHAPE, 3, n).query
    ]
    for start in (0, 10, 20):
        assert sorted(seen[start : start + 10]) == unlabelled
    assert seen[:10] != seen[10:20]
    again = draw_mixed("a", "b", clean, unlabelled, SHAPE, 3, 2)
    assert list(again.query) == seen[6:9] and len(set(again.support)) == 2
    assert draw_mixed("a", "b", clean, (), SHAPE, 3, 2).query == ()


def test_a_second_scan_without_labels_is_not_learned_from(source, shards):
    """It is of a labelled patient: its labels do not name the structure."""
    (entry,) = source.pool.entries
    numbers = list(scans_labelled(shards, entry))
    (number,) = numbers
    bare = shards.volumes[number]._replace(name="chest/later", counts={})
    more = shards._replace(volumes=(*shards.volumes, bare))
    assert list(scans_labelled(more, entry)) == numbers


def test_without_unlabelled_slices_the_query_is_empty(source, shards):
    alone = semi_labelled(source.pool, SHAPE, (), None)
    task = load_task(alone, 0, 1)
    assert not task.query.valid.any() and task.support.valid.all()


def test_more_at_once_than_there_are_is_refused(source, made):
    with pytest.raises(BadInput, match="999 labelled slices at once"):
        semi_labelled(source.pool, SHAPE._replace(shots=999), (), None)
    with pytest.raises(BadInput, match="3 unlabelled slices at once, and there are 1"):
        semi_labelled(source.pool, SHAPE, [(0, 0)], made)


def test_labels_are_read_as_they_were_written(made, shards):
    names = [volume.name for volume in shards.volumes]
    opened = open_initial_labels(made.folder, shards, ORGAN, names, "a" * 64)
    assert opened == made
    volume = shards.volumes[0]
    found = load_probability(opened, volume, [0, 1])
    assert found.shape == (2, *sliced_shape(volume.grid)[1:])
    np.testing.assert_allclose(found[:, 0], 0.9, atol=0.002)
    mask, sure = load_initial(opened, shards, 0, [0], size=16)
    assert mask.dtype == np.uint8 and mask.shape == sure.shape == (1, 16, 16)


@pytest.mark.parametrize(
    "change, message",
    [
        (dict(structure="liver"), "initial labels of liver, not of heart"),
        (dict(made_by="b" * 64), "made by another network"),
        (dict(files={}), "no initial labels of"),
        (dict(fingerprints="other"), "of other voxels than the shards hold now"),
    ],
)
def test_stale_labels_are_refused(made, shards, tmp_path, change, message):
    table = json.loads((made.folder / TABLE).read_text())
    if change == dict(fingerprints="other"):
        change = dict(fingerprints=dict.fromkeys(table["fingerprints"], "other"))
    (tmp_path / TABLE).write_text(json.dumps(table | change))
    names = [volume.name for volume in shards.volumes]
    with pytest.raises(BadInput, match=message):
        open_initial_labels(tmp_path, shards, ORGAN, names, "a" * 64)


def test_damaged_labels_are_told(made, shards, tmp_path):
    with pytest.raises(BadInput, match="no initial labels there"):
        open_initial_labels(tmp_path, shards, ORGAN, [])
    (tmp_path / TABLE).write_text("{")
    with pytest.raises(BadInput, match="no table of initial labels"):
        open_initial_labels(tmp_path, shards, ORGAN, [])
    broken = dict(made._asdict(), folder=tmp_path)
    volume = shards.volumes[0]
    (tmp_path / made.volumes[volume.name]).write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(BadInput, match="damaged"):
        load_probability(type(made)(**broken), volume, [0])


def test_a_killed_writer_leaves_no_table(made, shards, tmp_path):
    def found():
        volume = shards.volumes[0]
        yield volume, np.zeros(sliced_shape(volume.grid), np.float32)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_initial_labels(tmp_path, ORGAN, "a", found())
    assert not (tmp_path / TABLE).exists()
    wrong = [(shards.volumes[0], np.zeros((1, 2, 3), np.float32))]
    with pytest.raises(ValueError, match="has slices of shape"):
        write_initial_labels(tmp_path, ORGAN, "a", iter(wrong))
