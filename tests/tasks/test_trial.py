"""Trials on real shards: supports, whole volumes with their truth, and the folds of the upper bound."""

import numpy as np
import pytest

from jaxmeta.data.shards import holders, load_masks
from jaxmeta.tasks.split import pool, split
from jaxmeta.tasks.trial import every_label, places, trials

SIZE = 16


@pytest.fixture(scope="module")
def held_out(shards):
    division = split(
        shards, test_organs=["spleen"], val_organs=["heart"], test_fraction=0.5, seed=0
    )
    return pool(shards, division, "test")


def test_a_support_names_its_slices_and_shows_the_organ_in_each(held_out):
    (trial,) = trials(held_out, shots=3, draws=2, size=SIZE)
    for support in trial.supports:
        assert support.examples.mask.any((1, 2)).all()
        assert support.examples.valid.all()
        named = {name.rsplit(":", 1)[0] for name in support.slices}
        assert named <= set(support.patients)
        for name, place in zip(support.slices, support.place, strict=True):
            case, number = name.rsplit(":", 1)
            (volume,) = [v for v in held_out.shards.volumes if v.name == case]
            assert place == places(len(volume.counts["spleen"]))[int(number)]


def test_draws_take_other_patients_while_there_are_any(held_out):
    (trial,) = trials(held_out, shots=2, draws=3, size=SIZE)
    assert len({support.patients for support in trial.supports}) == 3


def test_one_shot_is_the_first_of_three(held_out):
    (few,) = trials(held_out, shots=1, draws=1, size=SIZE)
    (many,) = trials(held_out, shots=3, draws=1, size=SIZE)
    (one,), (three,) = few.supports, many.supports
    assert one.slices == three.slices[:1]
    np.testing.assert_array_equal(one.examples.image, three.examples.image[:1])
    assert one.place.tolist() == three.place[:1].tolist()


def test_queries_are_every_volume_whole_with_its_truth_at_native_size(held_out):
    (trial,) = trials(held_out, shots=1, draws=1, size=SIZE)
    queries = [load() for load in trial.queries]
    assert {query.patient for query in queries} == set(held_out.entries[0].patients)
    for query in queries:
        volume = held_out.shards.volumes[query.volume]
        assert len(query.image) == len(query.target) == len(volume.counts["spleen"])
        native = load_masks(held_out.shards, query.volume, range(len(query.target)), "spleen")
        np.testing.assert_array_equal(query.target, native > 0)
        assert query.finish(query.image[..., 0]).shape == query.target.shape


def test_a_limit_leaves_out_volumes_and_nothing_else(held_out):
    (trial,) = trials(held_out, shots=1, draws=1, size=SIZE, most=2)
    assert len(trial.queries) == 2


def test_the_upper_bound_learns_from_everybody_but_the_fold_it_is_scored_on(held_out):
    (entry,) = held_out.entries
    supports = every_label(held_out, entry, folds=2, size=SIZE)
    everybody = set(holders(held_out.shards, "spleen"))
    for patient in entry.patients:
        assert sum(patient not in support.patients for support in supports) == 1
    for support in supports:
        assert everybody - set(support.patients) < set(entry.patients)
        total = sum(
            len(v.counts["spleen"])
            for v in held_out.shards.volumes
            if v.patient in support.patients
        )
        assert support.examples.valid.sum() == total
        assert not support.examples.mask[total:].any()
