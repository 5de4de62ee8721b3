"""Chunks of neighboring slices: who gives, who is asked, and that no chunk crosses scans."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.data.grid import sliced_shape
from jaxmeta.data.shards.load import load_masks
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from jaxmeta.methods.ssm_sam.released import chunks_across
from jaxmeta.splits.pool import Entry, pool
from jaxmeta.splits.split import split
from jaxmeta.tasks.episodes import EpisodeShape
from jaxmeta.tasks.slice_chunks import chunked, chunks_within, showing, shown_of
from jaxmeta.tasks.source import load_task, neighbors, shown
from tests.helpers.cohorts import write_scans

SHAPE = EpisodeShape(shots=3, queries=2, size=16)


def numbers(chunks):
    return [[n for _, n in chunk] for chunk in chunks]


def test_of_five_slices_in_a_row_the_third_is_the_support():
    found = chunked([(7, n) for n in range(10, 22)], 5, 5)
    assert numbers(found) == [[12, 10, 11, 13, 14], [17, 15, 16, 18, 19], [19, 17, 18, 20, 21]]
    assert {volume for chunk in found for volume, _ in chunk} == {7}


def test_of_sliding_triples_the_middle_is_the_support():
    assert numbers(chunked([(0, n) for n in range(4)], 3, 1)) == [[1, 0, 2], [2, 1, 3]]


def test_where_slices_lack_the_support_slice_stands_in():
    assert numbers(chunked([(0, n) for n in [4, 5]], 5, 5)) == [[5, 4, 5, 5, 5]]
    assert numbers(chunked([(0, n) for n in [4]], 3, 1)) == [[4, 4, 4]]


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(2, 7), st.integers(1, 7))
def test_every_chunk_is_a_run_and_every_slice_in_some_chunk(slices, width, stride):
    slices = sorted(slices)
    found = numbers(chunked([(0, n) for n in slices], width, stride))
    for support_slice, *others in found:
        run = sorted({support_slice, *others})
        start = slices.index(run[0])
        assert run == slices[start : start + width]
        assert support_slice == run[len(run) // 2]
        assert len(others) == width - 1
    if stride <= width:
        assert {n for chunk in found for n in chunk} == set(slices)


@pytest.fixture(scope="module")
def cut(tmp_path_factory):
    root = tmp_path_factory.mktemp("chunked")
    write_scans(root / "belly", ["liver", "kidney"], 8, 0)  # four of them train: two a side
    prepare([root / "belly"], root / "shards", size=16, workers=1)
    shards = open_shards([root / "shards"])
    return shards, split(shards, test_organs=["kidney"], val_organs=[], seed=0)


def test_no_chunk_crosses_scans_and_support_and_query_are_of_different_patients(cut):
    shards, division = cut
    source = neighbors(pool(shards, division, "train"), SHAPE, width=3, stride=1)
    patient = [volume.patient for volume in shards.volumes]
    for index in range(30):
        episode = source.draw(0, index)
        for side, count in ((episode.support, 3), (episode.query, 2)):
            chunks = [side[n : n + 3] for n in range(0, len(side), 3)]
            assert len(chunks) == count
            assert all(len({volume for volume, _ in chunk}) == 1 for chunk in chunks)
        sides = [{patient[v] for v, _ in side} for side in (episode.support, episode.query)]
        assert not sides[0] & sides[1]
        assert episode == source.draw(0, index)


def test_released_chunks_cross_from_scan_to_scan():
    entry = Entry("belly", "liver", {"a": [(0, [3, 4])], "b": [(1, [5]), (2, [7, 8])]}, "mr")
    whole = chunks_across(entry, ["a", "b"], 5, 5)
    assert whole == [((1, 5), (0, 3), (0, 4), (2, 7), (2, 8))]
    for chunk in chunks_within(entry, ["a", "b"], 5, 5):
        assert len({volume for volume, _ in chunk}) == 1


def test_slices_in_which_a_structure_hardly_shows_are_in_no_chunk(cut):
    """The liver at 16 pixels covers many pixels in each slice, at 2 pixels none: and then that is
    told."""
    shards, division = cut
    found = showing(pool(shards, division, "train"), SHAPE)
    for entry, before in zip(found.entries, pool(shards, division, "train").entries, strict=True):
        for name, scans in entry.patients.items():
            kept = {volume: set(slices) for volume, slices in scans}
            for volume, slices in before.patients[name]:
                counts = shards.volumes[volume].counts[entry.organ]
                grid = shards.volumes[volume].grid
                shrink = 16**2 / np.prod(sliced_shape(grid)[1:])
                wanted = {int(n) for n in slices if counts[n] * shrink >= 4}
                assert kept.get(volume, set()) == wanted
    with pytest.raises(BadInput, match="shows in no slice at 2 pixels"):
        neighbors(pool(shards, division, "train"), SHAPE._replace(size=2), width=3, stride=1)


def test_each_slice_is_told_the_mask_of_its_own_support_slice(cut):
    shards, division = cut
    source = neighbors(pool(shards, division, "train"), SHAPE, width=3, stride=1)
    episode, task = source.draw(1, 2), load_task(source, 1, 2)
    assert task.support.image.shape == (6, 16, 16, 1) and task.query.prompt.shape == (4, 16, 16)
    for place in range(6):
        volume, support_slice = episode.support[place // 2 * 3]
        wanted = load_masks(shards, volume, [support_slice], episode.organ, size=16)[0]
        np.testing.assert_array_equal(task.support.prompt[place], wanted)
        volume, own = episode.support[place // 2 * 3 + 1 + place % 2]
        wanted = load_masks(shards, volume, [own], episode.organ, size=16)[0]
        np.testing.assert_array_equal(task.support.mask[place], wanted)
        assert task.support.valid[place] == (own != support_slice)


def test_chunks_without_anything_to_segment_are_refused(cut):
    with pytest.raises(BadInput, match="chunks of 1 slices"):
        neighbors(pool(*cut, "train"), SHAPE, width=1, stride=1)


@pytest.mark.parametrize("how", [chunks_within, chunks_across])
def test_chunks_cross_scans_as_released_or_never(cut, how):
    source = neighbors(pool(*cut, "train"), SHAPE, width=3, stride=1, cut=how)
    crossing = 0
    for index in range(30):
        episode = source.draw(0, index)
        side = episode.support
        crossing += sum(
            len({volume for volume, _ in side[n : n + 3]}) > 1 for n in range(0, len(side), 3)
        )
    assert (crossing > 0) == (how is chunks_across)


@pytest.mark.parametrize("stride, support_slices", [(1, {1, 2, 3, 4}), (2, {1, 3, 4}), (3, {1, 4})])
def test_chunks_begin_a_stride_apart(cut, stride, support_slices):
    """Of six slices in runs of 3: the middles of those that begin at 0, stride, ... and of the
    last."""
    train = pool(*cut, "train")
    firsts = {v: int(min(s)) for e in train.entries for p in e.patients.values() for v, s in p}
    source = neighbors(train, SHAPE, width=3, stride=stride)
    found = set()
    for index in range(20):
        found |= {n - firsts[volume] for volume, n in source.draw(0, index).support[::3]}
    assert found == support_slices


def test_of_one_patient_support_and_query_are_different_chunks(cut):
    train = pool(*cut, "train")
    (entry,) = train.entries
    name = sorted(entry.patients)[0]
    alone = train._replace(entries=(entry._replace(patients={name: entry.patients[name]}),))
    source = neighbors(alone, SHAPE._replace(shots=1, queries=1), width=3, stride=3)
    for index in range(10):
        episode = source.draw(0, index)
        assert not set(episode.support) & set(episode.query)


def test_a_support_slice_that_stands_in_for_slices_that_lack_is_not_valid(cut):
    """The liver has six slices: of a chunk of nine three are the support slice again."""
    train = pool(*cut, "train")
    source = neighbors(train, SHAPE, width=9, stride=9)
    episode, task = source.draw(0, 0), load_task(source, 0, 0)
    support_slice = [episode.support[n - n % 9] for n in range(27) if n % 9]
    wanted = [a != b for a, b in zip(support_slice, shown_of(9, episode.support), strict=True)]
    assert task.support.valid.tolist() == wanted and wanted.count(False) == 9


@pytest.mark.parametrize("clicks", [0, 4])
def test_shown_is_one_chunk_its_middle_the_support(cut, clicks):
    shards, _ = cut
    source = shown(pool(*cut, "train"), SHAPE, width=9, clicks=clicks)
    episode, task = source.draw(0, 3), load_task(source, 0, 3)
    support_slice, *others = episode.query
    for examples, slices in ((task.support, [support_slice]), (task.query, others)):
        for mask, (volume, n) in zip(examples.mask, slices, strict=True):
            wanted = load_masks(shards, volume, [n], episode.organ, size=16)[0]
            np.testing.assert_array_equal(mask, wanted)
    assert task.query.valid.tolist() == [at != support_slice for at in others]
    assert not task.query.valid.all() and task.support.valid.all()
    if clicks:
        for mask, places in zip(task.query.mask, task.query.prompt, strict=True):
            x, y = places.astype(int).T
            assert len(x) == clicks and mask[y, x].all()
    else:
        assert task.query.prompt == ()
