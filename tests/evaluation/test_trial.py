"""Trials on real shards: supports, whole volumes with their truth, and the folds of the upper
bound."""

import nibabel as nib
import numpy as np
import pytest

from jaxmeta.data.shards.load import load_masks
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import holders, open_shards
from jaxmeta.evaluation.protocol import request_of
from jaxmeta.evaluation.protocols.few_shot import trials
from jaxmeta.evaluation.protocols.supervised import every_label, folds_of
from jaxmeta.evaluation.scoring import score_volumes
from jaxmeta.evaluation.segmenter import Segmenter
from jaxmeta.evaluation.trial import Trial, places, whole_volumes
from jaxmeta.methods.options import Episodes
from jaxmeta.runs.config import Config
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import split
from tests.helpers.cohorts import write_scans

SIZE = 16


def request(**asked):
    return request_of(Config(tasks=Episodes(size=SIZE, spacing=0.0)), **asked)


@pytest.fixture(scope="module")
def held_out(shards):
    division = split(
        shards, test_organs=["spleen"], val_organs=["heart"], test_fraction=0.5, seed=0
    )
    return pool(shards, division, "test")


def test_a_support_names_its_slices_and_shows_the_organ_in_each(held_out):
    (trial,) = trials(held_out, request(shots=3, support_sets=2))
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
    (trial,) = trials(held_out, request(shots=2, support_sets=3))
    assert len({support.patients for support in trial.supports}) == 3


def test_one_shot_is_the_first_of_three(held_out):
    (few,) = trials(held_out, request(shots=1, support_sets=1))
    (many,) = trials(held_out, request(shots=3, support_sets=1))
    (one,), (three,) = few.supports, many.supports
    assert one.slices == three.slices[:1]
    np.testing.assert_array_equal(one.examples.image, three.examples.image[:1])
    assert one.place.tolist() == three.place[:1].tolist()


def test_queries_are_every_volume_whole_with_its_truth_at_native_size(held_out):
    (trial,) = trials(held_out, request(shots=1, support_sets=1))
    queries = [load() for load in trial.queries]
    assert {query.patient for query in queries} == set(held_out.entries[0].patients)
    for query in queries:
        volume = held_out.shards.volumes[query.volume]
        assert len(query.image) == len(query.target) == len(volume.counts["spleen"])
        native = load_masks(held_out.shards, query.volume, range(len(query.target)), "spleen")
        np.testing.assert_array_equal(query.target, native > 0)
        assert query.finish(query.image[..., 0]).shape == query.target.shape


def test_a_limit_leaves_out_volumes_and_nothing_else(held_out):
    (trial,) = trials(held_out, request(shots=1, support_sets=1, most=2))
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


def without_kidney(folder, count, bare):
    """Prepare scans of so many patients, of whom the `bare` have no kidney."""
    write_scans(folder / "belly", ["liver", "kidney"], count, 0)
    for number in bare:
        path = folder / "belly" / "labelsTr" / f"case{number}.nii.gz"
        label = nib.load(path)
        array = np.asarray(label.dataobj).copy()
        array[array == 2] = 0
        nib.save(nib.Nifti1Image(array, label.affine), path)
    prepare([folder / "belly"], folder / "shards", size=16, workers=1)
    return open_shards([folder / "shards"])


def test_the_upper_bound_scores_every_volume_once_with_the_organ_or_without(tmp_path):
    """A bare volume was in the mean once for each fold: its patient is in no fold's training."""
    shards = without_kidney(tmp_path, 6, bare=(4, 5))
    held = [f"belly/case{number}" for number in range(1, 6)]
    made = split(shards, test_organs=["kidney"], val_organs=[], test_patients=held, seed=0)
    held_out = pool(shards, made, "test")
    (entry,) = held_out.entries
    assert len(entry.patients) == 3 and len(entry.bare) == 2
    supports = every_label(held_out, entry, folds=4, size=16)
    answers = folds_of(held_out, entry, folds=4)
    assert len(supports) == 3 and sorted(answers) == held
    for name in entry.patients:
        assert [name not in support.patients for support in supports].index(True) == answers[name]
    queries = whole_volumes(held_out, entry, size=16, mm=None)
    trial = Trial("kidney", entry.dataset, entry, supports, queries, answers)
    every = Segmenter("all", lambda s, k: None, lambda f, i, place: np.ones((3, len(i), 16, 16)))
    found = [score for score, _, _ in score_volumes([every], trial)]
    assert sorted(score.patient for score in found) == held
    whole = [
        mask.target.mean() for mask in (load() for load in queries)
    ]  # Dice of all: 2 s / (1 + s)
    expected = sum(2 * share / (1 + share) for share in whole) / 5
    assert np.mean([score.dice for score in found]) == pytest.approx(expected)


def test_a_volume_without_the_organ_is_asked_too_and_its_truth_is_empty(tmp_path):
    """Never silently dropped: what is found there is a false alarm, and nothing found is
    counted."""
    shards = without_kidney(tmp_path, 4, bare=(3,))
    held = ["belly/case1", "belly/case2", "belly/case3"]
    made = split(shards, test_organs=["kidney"], val_organs=[], test_patients=held, seed=0)
    (entry,) = pool(shards, made, "test").entries
    assert sorted(entry.patients) == held[:2] and len(entry.bare) == 1
    (trial,) = trials(pool(shards, made, "test"), request(shots=1, support_sets=1))
    queries = [load() for load in trial.queries]
    assert [q.patient for q in queries] == held and not queries[-1].target.any()
    one = Segmenter("all", lambda s, k: None, lambda f, i, place: np.ones((1, len(i), 16, 16)))
    none = Segmenter("none", lambda s, k: None, lambda f, i, place: np.zeros((1, len(i), 16, 16)))
    found = {(c.row, c.patient): c for c, _, _ in score_volumes([one, none], trial)}
    assert found["all", "belly/case3"].outcome == "false alarm"
    assert found["all", "belly/case3"].dice == 0
    assert found["none", "belly/case3"].outcome == "empty"
    assert np.isnan(found["none", "belly/case3"].dice)
    # nobody of the training side is asked about
    assert (
        pool(
            shards,
            made._replace(
                test_patients=tuple(held[:2]), train_patients=("belly/case0", "belly/case3")
            ),
            "test",
        )
        .entries[0]
        .bare
        == ()
    )
