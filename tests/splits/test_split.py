"""Nothing is on two sides of a split, and its rules are the ones that are written down."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.data.shards.shards import holders, structures
from jaxmeta.errors import BadInput
from jaxmeta.splits.pool import count_table, pool
from jaxmeta.splits.split import Split, split, split_from_json
from tests.helpers.cohorts import cohort, cohorts, hospital


@given(cohorts(), st.data())
def test_no_organ_and_no_patient_is_on_two_sides(shards, data):
    organs = structures(shards)
    side = {organ: data.draw(st.sampled_from(["train", "val", "test"])) for organ in organs}
    made = split(
        shards,
        test_organs=[organ for organ in organs if side[organ] == "test"],
        val_organs=[organ for organ in organs if side[organ] == "val"],
        test_fraction=data.draw(st.sampled_from([0.2, 0.5, 1.0])),
        seed=data.draw(st.integers(0, 9)),
    )
    everybody = sorted({volume.patient for volume in shards.volumes})
    assert sorted(made.train_patients + made.test_patients) == everybody
    assert sorted(made.train_organs + made.val_organs + made.test_organs) == organs
    for phase in ("train", "val", "test"):
        try:
            entries = pool(shards, made, phase, single_patients=True).entries
        except BadInput as empty:
            assert "nothing to draw" in str(empty)
            continue
        for entry in entries:
            assert side[entry.organ] == phase
            allowed = made.test_patients if phase == "test" else made.train_patients
            assert set(entry.patients) <= set(allowed)
            for patient, scans in entry.patients.items():
                for volume, slices in scans:
                    row = shards.volumes[volume]
                    assert (row.patient, row.dataset) == (patient, entry.dataset)
                    assert row.modality == entry.modality
                    assert len(slices) and all(row.counts[entry.organ][list(slices)] > 0)


def test_a_data_set_is_divided_only_where_it_has_test_organs_and_others():
    made = split(hospital(), test_organs=["spleen", "atrium"], val_organs=["kidney"], seed=0)
    by_dataset = {}
    for name in made.test_patients:
        by_dataset.setdefault(name.split("/")[0], []).append(name)
    assert {name: len(patients) for name, patients in by_dataset.items()} == {"belly": 5, "left": 4}
    assert made.train_organs == ("aorta", "liver", "lung")


def test_validation_organs_also_divide_a_data_set():
    shards = hospital()
    made = split(
        shards, train_organs=["lung"], val_organs=["liver"], test_organs=["spleen"], seed=0
    )
    assert len([name for name in made.test_patients if name.startswith("belly/")]) == 5
    validated = {name for entry in pool(shards, made, "val").entries for name in entry.patients}
    assert validated and validated.isdisjoint(made.test_patients)


def test_the_division_depends_on_the_seed_and_not_on_other_data_sets():
    def test_side(shards, seed):
        made = split(shards, test_organs=["spleen"], val_organs=[], seed=seed)
        return [name for name in made.test_patients if name.startswith("belly/")]

    alone = {"belly": hospital.spec["belly"]}
    assert test_side(hospital(), 3) == test_side(cohort(alone), 3)
    assert len({tuple(test_side(hospital(), seed)) for seed in range(10)}) > 5


def test_data_sets_are_divided_each_by_its_own_chance():
    rows = [{"spleen": [0, 5, 5], "liver": [5, 5, 5]}] * 20
    made = split(cohort({"a": rows, "b": rows}), test_organs=["spleen"], val_organs=[], seed=0)
    a, b = ({p[2:] for p in made.test_patients if p.startswith(name)} for name in "ab")
    assert len(a) == len(b) == 10 and a != b


def test_two_patients_at_least_are_left_to_the_test():
    rows = [{"spleen": [0, 5, 5], "liver": [5, 5, 5]}] * 3
    made = split(
        cohort({"small": rows}), test_organs=["spleen"], val_organs=[], test_fraction=0.1, seed=0
    )
    assert len(made.test_patients) == 2


@given(st.data())
def test_every_data_set_of_shared_patients_has_two_at_least_in_the_test(data):
    """Whoever is in which: one to learn from and one to score, of each, and nobody on two sides."""
    people, organs = st.integers(0, 6), st.sampled_from(["spleen", "liver", "kidney"])
    held = st.dictionaries(people, st.sets(organs, min_size=1), min_size=1, max_size=6)
    spec, ids = {}, {}
    for name in "abc"[: data.draw(st.integers(1, 3))]:
        ids[name] = data.draw(held)
        spec[name] = [{organ: [0, 9] for organ in sorted(own)} for own in ids[name].values()]
    spec["z"] = [{"spleen": [9], "liver": [9], "kidney": [9]}] * 4
    shards = cohort(spec)
    shared = data.draw(people)  # ids below are the same people in all data sets
    who = {
        f"{name}/p{number}": f"{'joined' if each < shared else name}/{each}"
        for name, own in ids.items()
        for number, each in enumerate(own)
    }
    volumes = tuple(v._replace(patient=who.get(v.patient, v.patient)) for v in shards.volumes)
    table = {}
    for number, volume in enumerate(volumes):
        for organ in volume.counts:
            table.setdefault(organ, {}).setdefault(volume.patient, []).append(
                (number, np.array([1], np.int32))
            )
    seed, share = data.draw(st.integers(0, 99)), data.draw(st.sampled_from([0.1, 0.5]))
    how = dict(test_organs=["spleen"], val_organs=["kidney"], test_fraction=share, seed=seed)
    made = split(shards._replace(volumes=volumes, table=table), **how)
    assert not set(made.train_patients) & set(made.test_patients)
    for name in spec:
        own = {v.patient for v in volumes if v.dataset == name and "spleen" in v.counts}
        assert len(own & set(made.test_patients)) >= min(2, len(own))


def test_patients_without_a_test_organ_stay_in_training():
    rows = [{"spleen": [0, 5, 5], "liver": [5, 5, 5]}] * 4 + [{"spleen": [0], "liver": [5]}] * 4
    shards = cohort({"mixed": rows})
    made = split(shards, test_organs=["spleen"], val_organs=[], seed=1)
    assert len(made.test_patients) == 2
    assert set(made.test_patients) <= set(holders(shards, "spleen"))


def test_named_patients_are_the_test_patients_of_their_data_set():
    made = split(
        hospital(),
        test_organs=["spleen", "atrium"],
        val_organs=[],
        test_patients=["belly/p3", "chest/p1"],
        seed=0,
    )
    assert made.test_patients == ("belly/p3", "chest/p1", *(f"left/p{i}" for i in range(4)))


def test_organs_are_found_by_any_spelling():
    shards = cohort({"heart": [{"left_atrium": [4, 4], "aorta": [4, 4]}] * 4})
    made = split(shards, test_organs=["Left Atrium"], val_organs=[], seed=0)
    assert made.test_organs == ("left_atrium",)


def test_mistakes_are_told():
    shards = hospital()
    with pytest.raises(BadInput, match="unknown organ 'splen': .*aorta, atrium, kidney, liver"):
        split(shards, test_organs=["splen"], val_organs=[], seed=0)
    with pytest.raises(BadInput, match="organ liver is on the training and on the test side"):
        split(shards, train_organs=["liver"], test_organs=["Liver"], val_organs=[], seed=0)
    with pytest.raises(BadInput, match="organ liver is on the validation and on the test side"):
        split(shards, test_organs=["liver"], val_organs=["liver"], seed=0)
    with pytest.raises(BadInput, match="unknown test patient nobody/7"):
        split(shards, test_organs=[], val_organs=[], test_patients=["nobody/7"], seed=0)
    with pytest.raises(BadInput, match="test fraction 0"):
        split(shards, test_organs=["spleen"], val_organs=[], test_fraction=0.0, seed=0)


def test_a_split_comes_back_from_json_and_is_checked_again():
    made = split(hospital(), test_organs=["spleen"], val_organs=["kidney"], seed=0)
    assert split_from_json(json.loads(json.dumps(made._asdict()))) == made
    leaking = made._replace(train_patients=made.train_patients + made.test_patients[:1])
    with pytest.raises(
        BadInput, match=f"patient {made.test_patients[0]} is on the training and on"
    ):
        split_from_json(leaking._asdict())
    with pytest.raises(BadInput, match="training and on the test side"):
        pool(hospital(), leaking, "train")


def test_the_test_takes_no_organ_that_was_learned_and_no_patient_that_was_seen():
    shards = hospital()
    made = split(shards, test_organs=["spleen"], val_organs=["kidney"], seed=0)
    for organ in ("liver", "kidney"):
        with pytest.raises(BadInput, match=f"organ {organ} is not a test organ of this split"):
            pool(shards, made, "test", organs=[organ])
    with pytest.raises(BadInput, match="organ spleen is not a train organ"):
        pool(shards, made, "train", organs=["spleen"])
    later = cohort({**hospital.spec, "new": [{"ureter": [0, 3, 3]}] * 2})
    (entry,) = pool(later, made, "test", organs=["ureter"]).entries
    assert list(entry.patients) == ["new/p0", "new/p1"]


def test_a_structure_of_one_patient_is_drawn_only_if_asked():
    shards = cohort({"brain": [{"cortex": [4, 4, 4]}], "belly": [{"liver": [4, 4]}] * 2})
    made = split(shards, test_organs=[], val_organs=[], seed=0)
    assert [entry.organ for entry in pool(shards, made, "train").entries] == ["liver"]
    both = pool(shards, made, "train", single_patients=True)
    assert [entry.organ for entry in both.entries] == ["liver", "cortex"]


def test_modalities_of_one_data_set_are_kept_apart():
    rows = [{"liver": [4, 4]}] * 4
    shards = cohort({"mixed": rows}, modality=lambda patient: "ct" if patient < 2 else "mr")
    made = split(shards, test_organs=[], val_organs=[], seed=0)
    entries = pool(shards, made, "train").entries
    assert [(entry.modality, list(entry.patients)) for entry in entries] == [
        ("ct", ["mixed/p0", "mixed/p1"]),
        ("mr", ["mixed/p2", "mixed/p3"]),
    ]


def test_the_table_counts_each_side():
    rows = [{"liver": [4, 4, 0], "spleen": [0, 4, 0]}] * 5
    shards = cohort({"belly": rows, "brain": [{"cortex": [4, 4, 4]}]})
    made = Split(
        ("cortex", "liver"),
        (),
        ("spleen",),
        ("belly/p0", "belly/p1", "belly/p2", "brain/p0"),
        ("belly/p3", "belly/p4"),
    )
    lines = [line.split() for line in count_table(shards, made).splitlines()[2:]]
    assert lines == [
        ["train", "cortex", "brain", "mr", "(1)", "(3)", "(0)", "(0)"],
        ["train", "liver", "belly", "mr", "3", "6", "(2)", "(4)"],
        ["test", "spleen", "belly", "mr", "(3)", "(3)", "2", "2"],
    ]
