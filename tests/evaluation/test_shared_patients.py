"""Slice-level questions: divided once, given and tested apart, however leaky."""

import numpy as np
import pytest

from jaxmeta.errors import BadInput
from jaxmeta.evaluation.comparison import supports
from jaxmeta.evaluation.protocol import request_of
from jaxmeta.evaluation.protocols.shared_patients import (
    SEEDS,
    SUPPORT_SLICES,
    divided,
    trials,
)
from jaxmeta.evaluation.scoring import score_of
from jaxmeta.methods.options import Episodes
from jaxmeta.metrics import Measures
from jaxmeta.runs.config import Config
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import split

CONFIG = Config(tasks=Episodes(size=16, spacing=0.0), allow_leak=("shared-patients",))


@pytest.fixture(scope="module")
def spleen(shards):
    made = split(shards, test_organs=["spleen"], val_organs=[], seed=0)
    return pool(shards, made, "test")


def test_a_fifth_is_tested_and_no_slice_is_on_both_sides(spleen):
    (entry,) = spleen.entries
    support_slices, tested = divided(entry)
    total = sum(len(s) for scans in entry.patients.values() for _, s in scans)
    assert len(tested) == round(total / 5) and not set(support_slices) & set(tested)
    watched = round((total - len(tested)) / 10)  # which validates, and neither gives nor is tested
    assert len(support_slices) == total - len(tested) - watched
    assert divided(entry) == (support_slices, tested)


def test_draws_have_the_paper_s_seeds_and_each_slice_is_a_query_of_its_own(spleen):
    (trial,) = trials(spleen, request_of(CONFIG, shots=4, support_sets=5))
    names = {f"{spleen.shards.volumes[v].name}:{n}" for v, n in divided(trial.entry)[0]}
    assert len({support.slices for support in trial.supports}) == len(SEEDS) == 5
    for support in trial.supports:
        assert set(support.slices) <= names and len(support.slices) == 4
        assert support.patients == SUPPORT_SLICES
    measures = Measures(**dict.fromkeys(Measures._fields, 0.0) | {"dice": 0.5, "outcome": "scored"})
    query = trial.queries[0]()
    scores = [
        score_of("a", "spleen", d, [s], query, measures) for d, s in enumerate(trial.supports)
    ]
    assert len(set(supports(scores).unit)) == len(SEEDS), (
        "of no patient in particular: slices are drawn"
    )
    for load in trial.queries:
        query = load()
        assert query.image.shape == (1, 16, 16, 1) and query.target.any()
        assert query.case not in names
        assert query.finish(np.ones((1, 16, 16), np.float32)).shape == query.target.shape


@pytest.mark.parametrize("asked", [dict(shots=99, support_sets=1), dict(shots=1, support_sets=6)])
def test_more_than_there_is_is_refused(spleen, asked):
    with pytest.raises(BadInput, match="99 shots of spleen|6 support sets of slices"):
        trials(spleen, request_of(CONFIG, **asked))
