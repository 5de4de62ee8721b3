"""Whole volumes of held-out patients, asked of what has no support, or all labels of others."""

import numpy as np
import pytest

from jaxmeta.errors import BadInput
from jaxmeta.evaluation.fully_supervised import asked_of_bounds
from jaxmeta.evaluation.protocol import request_of
from jaxmeta.evaluation.protocols import PROTOCOLS, shared_patients, supervised
from jaxmeta.evaluation.scoring import score_volumes
from jaxmeta.evaluation.segmenter import Segmenter, networks
from jaxmeta.learners.learner import Predictor
from jaxmeta.methods import BY_OPTIONS, method_of
from jaxmeta.methods.maml import Maml
from jaxmeta.methods.options import Episodes
from jaxmeta.runs.config import Config
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import split

CONFIG = Config(tasks=Episodes(size=16, spacing=0.0))


@pytest.fixture(scope="module")
def held_out(shards):
    division = split(
        shards, test_organs=["spleen"], val_organs=["heart"], test_fraction=0.5, seed=0
    )
    return pool(shards, division, "test")


@pytest.fixture
def trained(monkeypatch):
    """Let the method be one that has learned all it can before it is tested."""
    usual = Config()
    learned = method_of(usual.method)._replace(needs_support=False)
    monkeypatch.setitem(BY_OPTIONS, type(usual.method), learned)


def test_every_volume_of_every_patient_is_scored_once_by_what_is_given_nothing(held_out, trained):
    protocol, given = PROTOCOLS["supervised"], []

    def fit(support, keys):
        given.append((support, keys.shape))

    everywhere = Segmenter("all", fit, lambda f, image, place: np.ones((1, len(image), 16, 16)))
    (trial,) = protocol.trials(held_out, request_of(CONFIG))
    found = list(protocol.score([everywhere], trial))
    assert given == [(None, (1, 2))] and trial.supports == ()
    assert sorted(score.patient for score, _, _ in found) == sorted(held_out.entries[0].patients)
    for score, query, _ in found:
        share = query.target.mean()
        assert score.dice == pytest.approx(2 * share / (1 + share))
        assert score.support_patients == score.support_slices == ""


@pytest.mark.parametrize("kept", [True, False])
def test_a_network_is_asked_as_it_is(held_out, trained, kept):
    """Its predictor gets no support, and what it adapts to is what it has learned, or nothing."""

    def predictor(state):
        def adapt(support, key):
            assert support is None
            return state if kept else ()

        return Predictor(
            adapt, lambda phi, image, prompt=(): (phi if kept else state) * (image - 0.5)
        )

    row = networks(predictor, support_sets=1)("adapted", np.float32(3.0))
    (trial,) = PROTOCOLS["supervised"].trials(held_out, request_of(CONFIG))
    for _, query, mask in score_volumes([row], trial):
        expected = query.finish(1 / (1 + np.exp(-3 * (query.image[..., 0] - 0.5))))
        np.testing.assert_array_equal(mask, expected)


def test_what_learns_from_its_support_is_not_asked_without_one(held_out):
    with pytest.raises(BadInput, match="`protocol=supervised`: maml learns an organ from its"):
        supervised.trials(
            held_out, request_of(Config(method=Maml(), tasks=Episodes(size=16, spacing=0.0)))
        )


def test_the_upper_bound_is_asked_by_the_same_protocol_in_folds(held_out, trained):
    bound = asked_of_bounds(PROTOCOLS["few-shot"])
    assert bound is supervised.IN_FOLDS and bound.score is PROTOCOLS["supervised"].score
    both = PROTOCOLS["supervised"], bound
    (alone,), (folds,) = (each.trials(held_out, request_of(CONFIG)) for each in both)
    asked = [[load().case for load in trial.queries] for trial in (alone, folds)]
    assert asked[0] == asked[1]
    assert sorted(folds.answers) == sorted(held_out.entries[0].patients)
    for patient, fold in folds.answers.items():
        assert patient not in folds.supports[fold].patients
    assert asked_of_bounds(PROTOCOLS["shared-patients"]) is shared_patients.EVERY_SLICE
