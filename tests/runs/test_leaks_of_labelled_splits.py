"""What a semi-supervised run has seen: of the tested nobody, of the unlabelled the voxels."""

import dataclasses

import pytest

from jaxmeta.errors import BadInput
from jaxmeta.runs.provenance import (
    HERE,
    TRAINED,
    Seen,
    for_run,
    held_out,
    leaks,
    refuse_leaks,
    seen_here,
)
from jaxmeta.runs.run import refuse_begun
from jaxmeta.splits.labelled import labelled_split
from jaxmeta.splits.pool import pool


@pytest.fixture(scope="module")
def division(shards):
    return labelled_split(shards, "heart", labelled=["1"], test_patients=["1"], seed=0)


def test_the_organ_is_no_leak_and_each_patient_is(shards, division):
    held = held_out(shards, division.test_organs, division.test_patients)
    held = for_run(held, division, ())
    assert not held.organs and held.patients == set(division.test_patients) and held.contents
    knows = Seen("another", TRAINED, ("heart",), division.train_patients)
    knows = knows._replace(labelled=division.labelled)
    assert not leaks([knows], held)
    knows = knows._replace(patients=division.test_patients)
    with pytest.raises(BadInput, match="trained on .*which is held out here"):
        refuse_leaks(leaks([knows], held), ())
    copied = knows._replace(patients=(), contents=dict(held.contents))
    assert {leak.kind for leak in leaks([copied], held)} == {"contents"}


def test_voxels_of_the_unlabelled_are_remembered(config, shards, division):
    drawn = pool(shards, division, "train", single_patients=True)
    (seen,) = seen_here(config, division, drawn)
    assert (seen.by, seen.how, seen.organs) == (HERE, TRAINED, ("heart",))
    assert set(seen.patients) == {*division.labelled, *division.unlabelled}
    names = {v.name for v in shards.volumes if v.patient in division.train_patients}
    assert division.unlabelled and set(seen.contents.values()) == names


def test_such_a_run_begins_with_nothing_that_has_seen_the_tested(config, division):
    knows = Seen("another", TRAINED, ("heart",), division.test_patients)
    begun = dataclasses.replace(config, allow_leak=())
    with pytest.raises(BadInput, match="begin with another"):
        refuse_begun([knows], division, begun)
    refuse_begun([knows._replace(patients=division.labelled)], division, begun)


def test_who_learned_from_labels_of_the_unlabelled_is_a_leak(shards, division):
    """Its patients are ours, and more of them were labelled for it; of another organ it may be."""
    held = held_out(shards, division.test_organs, division.test_patients)
    held = for_run(held, division, ())
    more = Seen("another", TRAINED, ("heart",), division.train_patients)
    found = leaks([more], held)
    assert {leak.kind for leak in found} == {"organs"}
    told = [f"another was trained on labels of heart in {n}, who" for n in division.unlabelled]
    assert [leak.text[: len(text)] for leak, text in zip(found, told, strict=True)] == told
    assert not leaks([more._replace(organs=("lung",))], held)
