"""Tasks of every kind: named by number, drawn as promised."""

import math
import pickle
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.errors import BadInput
from jaxmeta.splits.decathlon import SUBTASKS, TARGETS, decathlon_pool, lacking
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import split
from jaxmeta.tasks.episodes import EpisodeShape
from jaxmeta.tasks.source import describe_task, episodes, load_task, pooled, volumes
from jaxmeta.tasks.volumetric import balanced, strided, with_pixels
from tests.helpers.cohorts import cohort, cohorts, hospital

SHAPE = EpisodeShape(shots=5, queries=3, size=16)


def training(shards, **options):
    made = split(shards, test_organs=[], val_organs=[], seed=0)
    return pool(shards, made, "train", single_patients=True, **options)


@given(cohorts(), st.integers(0, 9), st.integers(0, 99), st.integers(1, 7))
def test_a_volumetric_task_is_one_scan_in_order_and_evenly_strided(shards, seed, index, most):
    here = training(shards)
    episode = volumes(here, SHAPE._replace(shots=most)).draw(seed, index)
    assert len({volume for volume, _ in episode.support}) == 1
    volume = shards.volumes[episode.support[0][0]]
    numbers = [n for _, n in episode.support]
    held = np.flatnonzero(volume.counts[episode.organ])
    assert numbers == held[:: math.ceil(len(held) / most)].tolist()
    assert 1 <= len(numbers) <= most
    entry = here.entries[episode.number]
    assert not set(episode.support) & set(episode.query)
    if len(entry.patients) > 1:
        assert volume.patient not in {shards.volumes[v].patient for v, _ in episode.query}


@given(st.integers(1, 60), st.integers(1, 20))
def test_strides_keep_at_most_so_many_and_all_where_they_fit(count, most):
    kept = strided(np.arange(count), most)
    assert len(kept) <= most and kept[0] == 0
    assert len(kept) == count or count > most


def test_a_pooled_task_draws_any_patient_s_slices_with_replacement():
    source = pooled(training(hospital(), organs=["atrium"]), SHAPE._replace(shots=40))
    drawn = [source.draw(0, index) for index in range(30)]
    support = [at for episode in drawn for at in episode.support]
    assert all(len(set(episode.support)) < 40 for episode in drawn)  # of 32 slices there are
    counts = Counter(support)
    assert len(counts) == 32 and max(counts.values()) < 3 * min(counts.values())
    assert all(not set(e.query) & set(e.support) for e in drawn)


def test_structures_are_drawn_by_weight():
    here = balanced(training(hospital()))
    drawn = Counter(volumes(here, SHAPE).draw(0, index).dataset for index in range(3000))
    for dataset in ("belly", "chest", "left"):  # of three, two and one structures
        assert drawn[dataset] / 3000 == pytest.approx(1 / 3, abs=0.04)


def test_slices_with_few_pixels_do_not_count():
    here = with_pixels(training(hospital()), 31)
    assert {entry.organ for entry in here.entries} == {"liver", "lung", "atrium"}
    (liver,) = (entry for entry in here.entries if entry.organ == "liver")
    assert all(list(n) == [2, 3, 4, 5, 6] for scans in liver.patients.values() for _, n in scans)


def test_the_decathlon_s_24_sub_tasks_weigh_4_96_without_the_targets():
    assert len(SUBTASKS) == 24
    sources = [sub for sub in SUBTASKS if sub.organ not in TARGETS]
    assert len(sources) == 19
    assert sum(sub.weight for sub in sources) == pytest.approx(4.96)


def test_of_a_decathlon_each_channel_is_a_sub_task_with_its_threshold_and_weight():
    shards = cohort(
        {
            "brats": [{"edema": [0, 999, 1000, 5000]}] * 4,
            "spleen": [{"spleen": [600, 700, 10]}] * 2,
            "other": [{"edema": [9000]}] * 2,
        }
    )
    channels = ("FLAIR", "T1w", "t1gd", "adc")  # as its dataset.json spells them
    volumes = tuple(
        volume._replace(channel=channels[n % 4] if volume.dataset == "brats" else None)
        for n, volume in enumerate(shards.volumes)
    )
    found = decathlon_pool(training(shards._replace(volumes=volumes)))
    told = [(e.dataset, e.organ, e.channel, e.weight) for e in found.entries]
    assert told == [
        ("brats", "edema", "FLAIR", 0.08),
        ("brats", "edema", "T1w", 0.08),
        ("brats", "edema", "t1gd", 0.08),
        ("spleen", "spleen", None, 1.0),
    ]
    assert [list(n) for scans in found.entries[0].patients.values() for _, n in scans] == [[2, 3]]
    gone = lacking(found, TARGETS)
    assert len(gone) == 19 - 3 and "braintumour/edema (t2w)" in gone
    with pytest.raises(BadInput, match="no sub-task of the Decathlon among belly/kidney"):
        decathlon_pool(training(hospital(), organs=["kidney"]))


@pytest.mark.parametrize("kind", [episodes, volumes, pooled])
def test_a_source_sent_to_another_process_makes_the_same_tasks(shards, kind):
    made = split(shards, test_organs=[], val_organs=[], seed=0)
    source = kind(pool(shards, made, "train"), SHAPE)
    copy = pickle.loads(pickle.dumps(source))
    for index in range(3):
        one, other = load_task(source, 7, index), load_task(copy, 7, index)
        np.testing.assert_array_equal(one.support.image, other.support.image)
        np.testing.assert_array_equal(one.key, other.key)
        assert one.support.image.shape == (5, 16, 16, 1) and one.query.mask.shape == (3, 16, 16)
        assert one.support.mask[one.support.valid].any((1, 2)).all()


@pytest.mark.parametrize("index", range(5))
def test_a_task_is_described_by_what_was_drawn(index):
    source = episodes(training(hospital(), organs=["atrium"]), SHAPE)
    episode = source.draw(0, index)
    support, query = describe_task(source, 0, index).split("; query ")
    scans = source.pool.shards.volumes
    numbers = " ".join(str(n) for _, n in sorted(episode.support))
    assert support == (
        f"task {index} (seed 0): organ atrium of left, "
        f"support {scans[episode.support[0][0]].name} slices {numbers}"
    )
    assert all(scans[volume].name in query for volume, _ in episode.query)
