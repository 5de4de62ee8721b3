"""Support sets of a test: complete, the same each time, and other patients in other draws."""

from collections import Counter

import pytest

from jaxmeta.errors import BadInput
from jaxmeta.evaluation.supports import sample_support, support_patients
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import split
from tests.helpers.cohorts import cohort, hospital


def held_out(shards, *organs):
    made = split(shards, test_organs=organs, val_organs=[], seed=0)
    return pool(shards, made, "test")


def test_draws_go_round_the_patients():
    (entry,) = held_out(hospital(), "spleen").entries
    support_sets = [
        support_patients(entry, shots=5, support_set=draw, seed=0) for draw in range(10)
    ]
    assert Counter(support_sets) == {(name,): 2 for name in entry.patients}
    assert support_sets == [
        support_patients(entry, shots=5, support_set=draw, seed=0) for draw in range(10)
    ]
    orders = {support_patients(entry, shots=5, support_set=0, seed=seed) for seed in range(20)}
    assert len(orders) > 1


def test_draws_of_several_patients_take_different_ones():
    (entry,) = held_out(hospital(), "spleen").entries
    groups = [support_patients(entry, shots=5, support_set=d, seed=0, count=2) for d in range(5)]
    assert all(len(set(group)) == 2 for group in groups)
    assert Counter(name for group in groups for name in group) == dict.fromkeys(entry.patients, 2)


def test_patients_with_too_few_slices_are_passed_over():
    rows = [{"organ": [9] * n + [0] * (8 - n)} for n in (2, 8, 3, 8)]
    (entry,) = held_out(cohort({"few": rows}), "organ").entries
    names = {support_patients(entry, shots=5, support_set=draw, seed=0) for draw in range(8)}
    assert names == {("few/p1",), ("few/p3",)}
    with pytest.raises(BadInput, match="9 shots asked, but of the 4 patient.*organ.*at most 8"):
        support_patients(entry, shots=9, support_set=0, seed=0)


def test_somebody_is_left_to_score():
    (entry,) = held_out(hospital(), "atrium").entries
    with pytest.raises(BadInput, match="atrium of left has 4 patient.*4 for the support"):
        support_patients(entry, shots=1, support_set=0, seed=0, count=4)


def test_other_draws_take_other_slices_and_the_same_draw_the_same():
    tests = held_out(hospital(), "spleen")
    (entry,) = tests.entries
    patient = [next(iter(entry.patients))]

    def drawn(**options):
        return sample_support(tests, entry, patient, **(dict(shots=3, size=16, seed=0) | options))

    assert drawn() == drawn()
    assert len({drawn(support_set=draw) for draw in range(10)}) > 5
    assert drawn(shots=1) == drawn()[:1], "one shot is the first of three"
    assert drawn(size=64) == drawn(size=512), "networks for larger slices are asked the same"
    for volume, number in drawn(shots=6):
        assert tests.shards.volumes[volume].counts["spleen"][number] > 0
    with pytest.raises(BadInput, match="7 shots asked.*at most 6 slices"):
        drawn(shots=7)


def test_the_support_of_an_organ_does_not_depend_on_the_rest_of_the_pool():
    def chosen(tests):
        (entry,) = (entry for entry in tests.entries if entry.organ == "spleen")
        names = support_patients(entry, shots=5, support_set=2, seed=0)
        slices = sample_support(tests, entry, names, shots=5, size=16, seed=0, support_set=2)
        return names, [(tests.shards.volumes[volume].name, number) for volume, number in slices]

    more = {**hospital.spec, "another": [{"ureter": [9] * 4}] * 3}
    assert chosen(held_out(hospital(), "spleen")) == chosen(
        held_out(cohort(more), "ureter", "spleen")
    )
