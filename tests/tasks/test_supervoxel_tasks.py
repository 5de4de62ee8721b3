"""Tasks without labels: what is drawn, from whom, and never from what is hidden."""

import numpy as np
import pytest

from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from jaxmeta.splits.split import split
from jaxmeta.tasks.episodes import EpisodeShape
from jaxmeta.tasks.source import load_task, supervoxel_tasks
from jaxmeta.tasks.supervoxels import unlabelled_pool
from tests.helpers.cohorts import write_scans

SHAPE = EpisodeShape(shots=2, queries=3, size=16)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    root = tmp_path_factory.mktemp("cut")
    write_scans(root / "belly", ["liver", "kidney"], 4, 0)
    prepare([root / "belly"], root / "shards", size=16, workers=1, supervoxels=12)
    shards = open_shards([root / "shards"])
    return shards, split(shards, test_organs=["kidney"], val_organs=[], seed=0)


def test_support_and_query_are_slices_of_one_piece_that_touch(cut):
    shards, division = cut
    source = supervoxel_tasks(unlabelled_pool(shards, division), SHAPE, least=6)
    pieces = set()
    for index in range(40):
        episode = source.draw(0, index)
        assert len({volume for volume, _ in (*episode.support, *episode.query)}) == 1
        volume = shards.volumes[episode.support[0][0]]
        assert volume.patient in division.train_patients
        support = [n for _, n in episode.support]
        counts = volume.supervoxels[episode.organ]
        assert all(counts[n] > 0 for n in support)
        assert len(episode.query) == 3
        assert all(min(abs(n - s) for s in support) <= 1 for _, n in episode.query)
        assert source.draw(0, index) == episode
        pieces.add((volume.name, episode.organ))
    assert len(pieces) > 8


def test_its_pixels_are_the_piece(cut):
    shards, division = cut
    task = load_task(supervoxel_tasks(unlabelled_pool(shards, division), SHAPE), 3, 5)
    assert task.support.mask[task.support.valid].any((1, 2)).all() and task.query.mask.any()
    assert np.isfinite(task.support.image).all()


def test_hidden_slices_are_not_drawn(cut):
    shards, division = cut
    hidden = {number: frozenset(range(3, 10)) for number in range(len(shards.volumes))}
    source = supervoxel_tasks(unlabelled_pool(shards, division, hidden), SHAPE)
    seen = {n for i in range(40) for _, n in (*source.draw(0, i).support, *source.draw(0, i).query)}
    assert seen and not seen & set(range(3, 10))


def test_shards_without_pieces_say_how_to_make_them(shards):
    division = split(shards, test_organs=["spleen"], val_organs=[], seed=0)
    with pytest.raises(BadInput, match="prepare the data with `supervoxels=200`"):
        unlabelled_pool(shards, division)
