"""Slices that were seen before: kept whole, read in order, and never mistaken for others."""

from functools import partial

import numpy as np
import pytest

from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput, Occupied
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import split
from jaxmeta.tasks.episodes import EpisodeShape
from jaxmeta.tasks.feature_cache import cached, keep, kept, not_kept, open_cache
from jaxmeta.tasks.slice_chunks import shown_of
from jaxmeta.tasks.source import load_task, neighbors
from tests.helpers.cohorts import write_scans


def test_what_is_kept_comes_back_and_what_lacks_is_listed(tmp_path):
    cache = open_cache(tmp_path / "c", ["belly/a", "belly/b"], {"size": 4})
    parts = {n: {"tokens": np.full((2, 2), n), "edges": np.arange(n)} for n in (3, 3)}
    keep(cache, (1, 7), parts[3])
    assert not_kept(cache, [(0, 7), (1, 7), (0, 7)]) == [(0, 7)]
    found = kept(cache, [(1, 7), (1, 7)])
    assert found["tokens"].shape == (2, 2, 2) and found["edges"].tolist() == 2 * [[0, 1, 2]]
    assert not list(tmp_path.rglob("*.partial"))


def test_volumes_of_like_names_are_kept_apart(tmp_path):
    cache = open_cache(tmp_path / "c", ["a/b_c", "a_b/c"], {})
    keep(cache, (0, 0), {"of": np.array(0)})
    assert not_kept(cache, [(1, 0)]) == [(1, 0)]


def test_a_damaged_slice_is_named_with_what_helps(tmp_path):
    cache = open_cache(tmp_path / "c", ["a"], {})
    keep(cache, (0, 7), {"of": np.arange(999)})
    path = tmp_path / "c" / "a" / "7.npz"
    path.write_bytes(path.read_bytes()[:300])
    with pytest.raises(BadInput, match="7.npz: cut off, or damaged; remove it"):
        kept(cache, [(0, 7)])


def test_a_folder_of_other_weights_is_refused(tmp_path):
    open_cache(tmp_path / "c", ["a"], {"size": 4})
    open_cache(tmp_path / "c", ["a"], {"size": 4})
    with pytest.raises(Occupied, match="other weights or sizes"):
        open_cache(tmp_path / "c", ["a"], {"size": 8})


def test_tasks_have_what_is_kept_of_each_slice_in_its_place(tmp_path):
    write_scans(tmp_path / "belly", ["liver"], 4, 0)
    prepare([tmp_path / "belly"], tmp_path / "shards", size=16, workers=1)
    shards = open_shards([tmp_path / "shards"])
    division = split(shards, test_organs=[], val_organs=[], seed=0)
    shape = EpisodeShape(shots=2, queries=1, size=16)
    source = neighbors(pool(shards, division, "train"), shape, width=3, stride=1)
    cache = open_cache(tmp_path / "c", [v.name for v in shards.volumes], {})
    for volume, each in enumerate(shards.volumes):
        for number in range(len(each.counts["liver"])):
            keep(cache, (volume, number), {"at": np.array([volume, number])})
    seen = cached(source, cache, partial(shown_of, 3))
    episode, task, plain = source.draw(0, 1), load_task(seen, 0, 1), load_task(source, 0, 1)
    wanted = [list(at) for place, at in enumerate(episode.support) if place % 3]
    assert task.support.image["at"].tolist() == wanted
    np.testing.assert_array_equal(task.support.mask, plain.support.mask)
    assert task.query.image["at"].shape == (2, 2)
