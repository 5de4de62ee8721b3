"""Semi-supervised splits: nobody on two sides, whoever asks and however patients are told."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.errors import BadInput
from jaxmeta.splits.labelled import describe, labelled_split
from jaxmeta.splits.pool import count_table, pool
from jaxmeta.splits.published import ATRIUM_TEST, PROSTATE_LABELLED, PROSTATE_TEST, PUBLISHED
from jaxmeta.splits.split import split_from_json
from tests.helpers.cohorts import cohort, cohorts, hospital


def divided(shards, organ="spleen", **how):
    return labelled_split(
        shards, organ, **dict(dict(labelled=["2"], test_patients=["3"], seed=0), **how)
    )


@given(cohorts(), st.integers(0, 99), st.integers(1, 3), st.integers(1, 3))
def test_everybody_is_on_one_side(shards, seed, few, tested):
    """Across data sets and sessions; test patients stay when more are labelled."""
    having = {v.patient for v in shards.volumes if "a" in v.counts and v.counts["a"].any()}
    if len(having) < few + tested:
        with pytest.raises(BadInput, match="patients are left"):
            divided(shards, "a", labelled=[str(few)], test_patients=[str(tested)], seed=seed)
        return
    made = divided(shards, "a", labelled=[str(few)], test_patients=[str(tested)], seed=seed)
    sides = made.labelled + made.unlabelled + made.test_patients
    datasets = {v.dataset for v in shards.volumes if "a" in v.counts}
    datasets |= {v.dataset for v in shards.volumes} - {
        v.dataset for v in shards.volumes if v.counts
    }
    assert len(sides) == len(set(sides))
    assert set(sides) == {v.patient for v in shards.volumes if v.dataset in datasets}
    assert {*made.labelled, *made.test_patients} <= having
    assert (len(made.labelled), len(made.test_patients)) == (few, tested)
    again = divided(shards, "a", labelled=["1"], test_patients=[str(tested)], seed=seed)
    assert again.test_patients == made.test_patients and again.labelled == made.labelled[:1]


def test_the_table_counts_labels_that_are_given():
    shards = hospital()
    made = divided(shards)
    *_, train, test = (line.split() for line in count_table(shards, made).splitlines())
    assert train[:2] == ["train", "spleen"] and train[4] == "2" and test[6] == "3"
    assert len(made.unlabelled) > 0


def test_patients_are_told_by_name_file_count_and_share(tmp_path):
    shards = hospital()
    (tmp_path / "test.list").write_text("p1\nbelly/p2\n")
    made = divided(shards, labelled=["p7", "p3"], test_patients=[str(tmp_path / "test.list")])
    assert made.labelled == ("belly/p7", "belly/p3") and made.test_patients == (
        "belly/p1",
        "belly/p2",
    )
    assert len(made.unlabelled) == 6
    made = divided(shards, labelled=["0.25"], test_patients=["belly/p0", "p9"], unlabelled=["0.5"])
    assert (len(made.labelled), len(made.unlabelled)) == (2, 3)
    made = divided(shards, unlabelled=["p5"], labelled=["p4"])
    assert made.unlabelled == ("belly/p5",) and not {"belly/p4", "belly/p5"} & set(
        made.test_patients
    )


@pytest.mark.parametrize(
    "how, message",
    [
        (
            dict(labelled=["p1"], test_patients=["p1"]),
            "patient belly/p1 is labelled and test_patients",
        ),
        (
            dict(labelled=["p1", "p2"], test_patients=["2"], unlabelled=["p2"]),
            "p2 is labelled and unlab",
        ),
        (dict(labelled=["11"]), "`labelled=11`: only 7 patients are left"),
        (dict(labelled=["0"]), "must be a count, or a share"),
        (dict(labelled=["inf"]), "no patient inf"),
        (dict(labelled=["2.5"]), "must be a count, or a share"),
        (dict(labelled=["p77"]), "`labelled`: no patient p77: there are belly/p0"),
        (dict(labelled=[]), "`labelled`: nobody is there"),
        (dict(test_patients=[]), "`test_patients`: nobody is there"),
        (dict(organ="gall"), "unknown organ 'gall'"),
        (dict(labelled=["la-4"]), "is a published list"),
        (dict(labelled=["la-4"], test_patients=["la-8"]), "is a published list"),
        (
            dict(labelled=["la-4"], test_patients=["la-4"]),
            "la-4: the shards have no patient 0|no patient U",
        ),
    ],
)
def test_what_cannot_be_is_refused(how, message):
    with pytest.raises(BadInput, match=message):
        divided(hospital(), **how)


def test_a_labelled_patient_has_the_organ():
    shards = cohort({"a": [{"x": [1, 1], "y": [9, 9]}, {"x": [0, 0], "y": [9, 9]}, {"x": [1, 1]}]})
    with pytest.raises(BadInput, match="a/p1 has no x"):
        divided(shards, "x", labelled=["p1"], test_patients=["1"])
    made = divided(shards, "x", labelled=["1"], test_patients=["1"])
    assert made.unlabelled == ("a/p1",)  # who needs none


def test_training_draws_of_the_labelled_alone_and_the_test_of_the_tested():
    shards = hospital()
    made = divided(shards, labelled=["p1", "p4"], test_patients=["p0"])
    (train,), (test,) = (pool(shards, made, phase).entries for phase in ("train", "test"))
    assert set(train.patients) == {"belly/p1", "belly/p4"} and set(test.patients) == {"belly/p0"}
    assert {train.organ, test.organ} == {"spleen"} == {*made.train_organs, *made.test_organs}


def test_a_name_of_several_patients_is_asked_for_again():
    shards = cohort({"a": [{"x": [1]}] * 3, "b": [{"x": [1]}] * 3})
    with pytest.raises(BadInput, match="p1 is a/p1 and b/p1: say which"):
        divided(shards, "x", labelled=["p1"], test_patients=["1"])


def renamed(names):
    """Make a data set of patients of these names."""
    shards = cohort({"a": [{"x": [5, 5]}] * len(names)})
    volumes = [
        v._replace(name=f"a/{n}", patient=f"a/{n}")
        for v, n in zip(shards.volumes, names, strict=True)
    ]
    table = {"x": {v.patient: [(n, np.arange(2))] for n, v in enumerate(volumes)}}
    return shards._replace(volumes=tuple(volumes), table=table)


def test_published_lists_divide_by_the_cases_names():
    shards = renamed([f"Case{n:02}" for n in range(50)])
    made = divided(shards, "x", labelled=["promise12"], test_patients=["promise12"])
    assert made.labelled == tuple(f"a/{n}" for n in PROSTATE_LABELLED)
    assert (
        made.test_patients == tuple(f"a/{n}" for n in PROSTATE_TEST) and len(made.unlabelled) == 37
    )
    names = [f"{n:020}" for n in range(80)]
    shards = renamed([*ATRIUM_TEST, *names[::-1]])
    for count in (4, 8, 16):
        made = divided(shards, "x", labelled=[f"la-{count}"], test_patients=[f"la-{count}"])
        assert made.labelled == tuple(f"a/{n}" for n in names[:count])
        assert (len(made.unlabelled), len(made.test_patients)) == (80 - count, 20)
    assert len(set(ATRIUM_TEST)) == 20 and set(PUBLISHED) == {"la-4", "la-8", "la-16", "promise12"}


def test_other_modalities_among_the_unlabelled_are_told():
    shards = cohort({"a": [{"x": [1]}] * 5}, modality=lambda patient: "ct" if patient > 3 else "mr")
    made = divided(shards, "x", labelled=["p0"], test_patients=["p1"])
    text = describe(made, shards)
    assert "1 labelled patients, 3 unlabelled, 1 tested" in text
    assert "1 of the unlabelled are of another modality" in text and "a/p4" in text
    assert split_from_json(made._asdict()) == made
