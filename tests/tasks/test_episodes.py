"""What an episode promises, whatever the cohort: it is a function of its numbers, balanced and
fair."""

import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.errors import BadInput
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import split
from jaxmeta.tasks.episodes import (
    EpisodeShape,
    checked_shape,
    draw_episode,
    load_episode,
)
from tests.helpers.cohorts import cohort, cohorts, hospital

SHAPE = EpisodeShape(shots=3, queries=4, size=16)


def training(shards, **options):
    made = split(shards, test_organs=[], val_organs=[], seed=0)
    return pool(shards, made, "train", **options)


def support_sets(pool, shape, count, seed=0):
    return [draw_episode(pool, shape, seed, index) for index in range(count)]


shapes = st.builds(
    EpisodeShape,
    shots=st.integers(1, 6),
    queries=st.integers(1, 7),
    size=st.just(16),
    spacing=st.sampled_from([None, 1.5]),
    support_patients=st.integers(1, 3),
    negative_fraction=st.sampled_from([0.0, 0.25, 0.6]),
    query_patients=st.integers(1, 3),
)


@given(cohorts(), shapes, st.integers(0, 99), st.integers(0, 10**9), st.booleans())
def test_an_episode_keeps_its_promises(shards, shape, seed, index, single_patients):
    drawn_from = training(shards, single_patients=single_patients)
    episode = draw_episode(drawn_from, shape, seed, index)
    assert draw_episode(drawn_from, shape, seed, index) == episode
    entry = drawn_from.entries[episode.number]
    assert (entry.organ, entry.dataset) == (episode.organ, episode.dataset)
    rows = shards.volumes

    def patients(slices):
        return {rows[volume].patient for volume, _ in slices}

    def holds(at):
        return rows[at[0]].counts[entry.organ][at[1]] > 0

    drawn = episode.support + episode.query
    assert len(set(drawn)) == len(drawn), "a slice twice"
    assert patients(drawn) <= set(entry.patients)
    assert {rows[volume].modality for volume, _ in drawn} == {entry.modality}
    assert episode.support and all(map(holds, episode.support))
    assert episode.query
    if len(entry.patients) > 1:
        assert patients(episode.support).isdisjoint(patients(episode.query))
        allowed = min(shape.support_patients, len(entry.patients) - 1)
        assert len(patients(episode.support)) <= allowed
        have = sum(sum(map(holds, every(rows, p))) for p in patients(episode.support))
        assert len(episode.support) == min(shape.shots, have) or allowed > shape.shots
    assert len(patients(episode.query)) <= shape.query_patients
    empty = sum(not holds(at) for at in episode.query)
    assert empty <= np.ceil(shape.queries * shape.negative_fraction)
    assert len(episode.query) <= shape.queries


def every(rows, patient):
    """All slices of a patient."""
    return [
        (number, n)
        for number, row in enumerate(rows)
        if row.patient == patient
        for n in range(len(next(iter(row.counts.values()))))
    ]


def test_another_process_with_the_same_numbers_draws_the_same():
    here = training(hospital())
    there = pickle.loads(pickle.dumps(here))
    assert support_sets(here, SHAPE, 30) == [draw_episode(there, SHAPE, 0, i) for i in range(30)]
    backwards = [draw_episode(here, SHAPE, 0, i) for i in reversed(range(30))]
    assert backwards[::-1] == support_sets(here, SHAPE, 30)


def test_other_numbers_draw_another_episode():
    here = training(hospital())
    episodes = support_sets(here, SHAPE, 200) + support_sets(here, SHAPE, 200, seed=1)
    assert len(set(episodes)) > 390


def test_draws_are_balanced_over_data_set_then_organ_then_patient():
    """Each count within five standard deviations of an even share, though the cohort is
    lopsided."""
    here = training(hospital())
    count = 4000
    episodes = support_sets(here, SHAPE, count)
    rows = here.shards.volumes

    def even(counts, choices, total):
        share = total / choices
        assert len(counts) == choices
        assert max(abs(n - share) for n in counts.values()) < 5 * np.sqrt(share), counts

    even(Counter(e.dataset for e in episodes), 3, count)
    for dataset, organs in {"belly": 3, "chest": 2, "left": 1}.items():
        there = [e for e in episodes if e.dataset == dataset]
        even(Counter(e.organ for e in there), organs, len(there))
        support_names = [{rows[volume].patient for volume, _ in e.support} for e in there]
        assert all(len(names) == 1 for names in support_names)
        everybody = len({row.patient for row in rows if row.dataset == dataset})
        even(Counter(next(iter(names)) for names in support_names), everybody, len(there))


def test_support_slices_are_drawn_evenly_of_those_with_the_organ():
    here = training(cohort({"belly": [{"liver": [0, 90, 90, 90, 90, 0]}] * 2}))
    shape = SHAPE._replace(shots=2)
    slices = Counter(n for e in support_sets(here, shape, 2000) for _, n in e.support)
    assert sorted(slices) == [1, 2, 3, 4]
    assert max(abs(n - 1000) for n in slices.values()) < 5 * np.sqrt(1000)


def test_a_quarter_of_the_query_is_empty():
    """The number of empty slices is 1 or 2 of 5, on average 1.25, whatever the organ's extent."""
    here = training(hospital(), organs=["liver", "kidney", "spleen"])
    shape = SHAPE._replace(queries=5)
    empty = [
        sum(here.shards.volumes[volume].counts[e.organ][n] == 0 for volume, n in e.query)
        for e in support_sets(here, shape, 2000)
    ]
    assert set(empty) == {1, 2}
    assert abs(np.mean(empty) - 1.25) < 5 * np.sqrt(0.25 * 0.75 / 2000)


def test_query_is_full_where_no_slice_is_empty_and_short_where_few_hold_the_organ():
    full = training(cohort({"crop": [{"organ": [9] * 8}] * 2}))
    assert all(len(e.query) == 4 for e in support_sets(full, SHAPE, 20))
    few = training(cohort({"few": [{"organ": [9] + [0] * 9}] * 2}))
    assert {len(e.query) for e in support_sets(few, SHAPE._replace(queries=8), 20)} == {1 + 2}


def test_slices_that_hardly_show_come_last():
    """At 16 of 20 pixels, 5 pixels are 3.2: too few, so they are drawn after the slices with 9."""
    here = training(cohort({"belly": [{"liver": [5, 5, 5, 9, 9, 5]}] * 2}))
    for episode in support_sets(here, SHAPE, 50):
        assert {3, 4} < {n for _, n in episode.support}
    fine = SHAPE._replace(spacing=0.5)  # four times the pixels: now all show
    assert any(4 not in {n for _, n in e.support} for e in support_sets(here, fine, 50))


def test_support_of_several_patients_is_dealt_evenly():
    here = training(hospital(), organs=["liver"])
    shape = SHAPE._replace(shots=5, support_patients=3)
    for episode in support_sets(here, shape, 20):
        assert sorted(Counter(volume for volume, _ in episode.support).values()) == [1, 2, 2]


def test_a_structure_of_one_patient_is_proved_on_other_slices():
    here = training(cohort({"brain": [{"cortex": [0, 9, 9, 9, 0]}]}), single_patients=True)
    for episode in support_sets(here, SHAPE._replace(shots=2), 20):
        assert len(episode.support) == 2
        assert {n for _, n in episode.query} - {0, 4} == {1, 2, 3} - {n for _, n in episode.support}


def test_more_shots_than_slices_are_refused_with_the_limit():
    here = training(hospital())
    checked_shape(here, SHAPE)
    with pytest.raises(
        BadInput, match=r"4 shots .*10 patient.*kidney in belly, 1 .*at most 3 slices"
    ):
        checked_shape(here, SHAPE._replace(shots=4))
    checked_shape(here, SHAPE._replace(shots=6, support_patients=2))
    alone = training(cohort({"brain": [{"cortex": [9, 9, 9]}]}), single_patients=True)
    checked_shape(alone, SHAPE._replace(shots=2))
    with pytest.raises(BadInput, match="at most 2 slices"):
        checked_shape(alone, SHAPE)


@pytest.mark.parametrize(
    "field", ["shots", "queries", "size", "support_patients", "query_patients"]
)
def test_sizes_below_one_are_refused(field):
    with pytest.raises(BadInput, match=f"{field} 0 must be at least 1"):
        checked_shape(training(hospital()), SHAPE._replace(**{field: 0}))


def test_a_negative_fraction_of_one_is_refused():
    with pytest.raises(BadInput, match="negative_fraction 1"):
        checked_shape(training(hospital()), SHAPE._replace(negative_fraction=1.0))


def test_a_task_holds_the_slices_that_were_drawn(shards):
    here = training(shards)
    shape = SHAPE._replace(shots=9, queries=5)  # more shots than some draws can fill
    short = 0
    for index in range(12):
        episode = draw_episode(here, shape, 7, index)
        task = load_episode(here, shape, episode, 7, index)
        for examples, slices, length in (
            (task.support, episode.support, 9),
            (task.query, episode.query, 5),
        ):
            assert examples.image.shape == (length, 16, 16, 1)
            assert examples.image.dtype == np.float32
            assert examples.mask.shape == (length, 16, 16) and examples.mask.dtype == np.uint8
            assert examples.valid.tolist() == [i < len(slices) for i in range(length)]
            assert not examples.image[len(slices) :].any()
            assert not examples.mask[len(slices) :].any()
            for i, (volume, n) in enumerate(slices):
                image = load_images(shards, volume, [n], size=16)
                mask = load_masks(shards, volume, [n], episode.organ, size=16)
                np.testing.assert_array_equal(examples.image[i], image[0])
                np.testing.assert_array_equal(examples.mask[i], mask[0])
                assert mask.any() == (shards.volumes[volume].counts[episode.organ][n] > 0)
            short += len(slices) < length
        assert task.task_id.tolist() == [index, episode.number] and task.task_id.dtype == np.int32
        assert task.key.shape == (2,) and task.key.dtype == np.uint32
    assert short > 0


def test_keys_differ_between_episodes(shards):
    here = training(shards)
    episode = draw_episode(here, SHAPE, 0, 0)
    keys = {
        tuple(load_episode(here, SHAPE, episode, seed, index).key.tolist())
        for seed in range(3)
        for index in range(10)
    }
    assert len(keys) == 30
