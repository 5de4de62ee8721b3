"""The ALPNet protocol: folds, supports, chunks and exclusion, on made-up cohorts and on CHAOS."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.errors import BadInput
from jaxmeta.splits import alpnet
from jaxmeta.splits.alpnet import chunks_of, digest, fold_of, members, slices_at
from jaxmeta.splits.pool import pool
from jaxmeta.tasks.episodes import EpisodeShape
from jaxmeta.tasks.source import episodes
from tests.helpers.cohorts import cohort, hospital

CHAOS = Path(__file__).resolve().parents[3] / "shared" / "data" / "CHAOS_T2SPIR"


def made(name="alpnet", *, shards=None, fold=0, setting=1, tested=("kidney",), trained=("liver",)):
    shards = shards or belly()
    return fold_of(name, shards, tested=tested, trained=trained, fold=fold, setting=setting)


def belly(patients=10):
    return cohort({"belly": hospital.spec["belly"][:1] * patients})


def test_blocks_of_a_sorted_cohort_are_tested_and_the_next_scan_is_the_support():
    found = [members(made(fold=fold)) for fold in range(5)]
    names = [f"belly/p{n}" for n in range(10)]
    for fold, (queries, support_patient) in enumerate(found):
        assert list(queries) == names[2 * fold : 2 * fold + 2]
        assert support_patient == names[(2 * fold + 2) % 10]


def test_names_are_sorted_by_their_numbers():
    assert alpnet.in_order(["a/p10", "a/p9", "a/p2"]) == ("a/p2", "a/p9", "a/p10")


@given(st.integers(10, 43))
def test_every_patient_is_a_query_once_and_never_their_own_support(count):
    shards = belly(count)
    asked = []
    for fold in range(5):
        protocol = made(shards=shards, fold=fold)
        queries, support_patient = members(protocol)
        asked += queries
        assert support_patient not in queries
        split = alpnet.split_of(protocol, shards)
        assert set(split.test_patients) == {*queries, support_patient}
        assert not set(split.train_patients) & {*queries, support_patient}
    assert sorted(asked) == sorted({v.patient for v in shards.volumes})


def test_descendants_take_the_first_scan_of_the_fold_as_the_support():
    queries, support_patient = members(made("alpnet-legacy", fold=1))
    assert support_patient == "belly/p2" and queries == ("belly/p3", "belly/p4")
    queries, support_patient = members(
        made("alpnet-legacy", fold=4)
    )  # the block 8 9 and, round the end, 0
    assert support_patient == "belly/p0" and queries == ("belly/p8", "belly/p9")


@given(st.integers(1, 80))
def test_support_slices_stand_at_a_sixth_a_half_and_five_sixths(count):
    slices = list(range(7, 7 + count))
    chosen = slices_at(slices, (1 / 6, 1 / 2, 5 / 6))
    assert chosen == tuple(7 + int(p * count) for p in (1 / 6, 1 / 2, 5 / 6))
    assert all(n in slices for n in chosen)


@given(st.sets(st.integers(0, 60), min_size=1), st.integers(1, 5))
def test_chunks_cover_the_organ_s_stretch_in_order_and_evenly(slices, count):
    dealt = chunks_of(sorted(slices), count)
    assert list(dealt) == list(range(min(slices), max(slices) + 1))
    chunks = list(dealt.values())
    assert chunks == sorted(chunks) and set(chunks) <= set(range(count))
    if len(chunks) >= count:
        sizes = [chunks.count(c) for c in range(count)]
        assert max(sizes) - min(sizes) <= 1


def test_setting_2_hides_what_shows_any_tested_organ_and_descendants_what_shows_all():
    """In the made-up belly the liver lies in slices 1 to 6, the kidney in 3 to 5, the spleen 2 to
    7."""
    both = dict(tested=("kidney", "spleen"), trained=("liver",))
    shards = belly()
    any_of = alpnet.hidden_slices(made(shards=shards, setting=2, **both), shards)
    all_of = alpnet.hidden_slices(made("alpnet-legacy", setting=2, shards=shards, **both), shards)
    assert any_of[0] == frozenset(range(2, 8)) and all_of[0] == frozenset({3, 4, 5})
    assert alpnet.hidden_slices(made(shards=shards, setting=1, **both), shards) == {}


def test_no_hidden_slice_is_ever_drawn():
    shards = belly()
    protocol = made(shards=shards, setting=2)
    hidden = alpnet.hidden_slices(protocol, shards)
    assert hidden[0] == frozenset({3, 4, 5})
    drawn_from = pool(shards, alpnet.split_of(protocol, shards), "train", hidden=hidden)
    source = episodes(drawn_from, EpisodeShape(shots=2, queries=4, size=16, negative_fraction=0.5))
    seen = set()
    for index in range(60):
        episode = source.draw(0, index)
        seen |= {n for _, n in (*episode.support, *episode.query)}
    assert not seen & {3, 4, 5} and {1, 2, 6} <= seen and seen & {0, 7, 8, 9}


def test_what_a_setting_leaves_is_counted():
    shards = belly()
    counts = alpnet.left_over(made(shards=shards, setting=2), shards)
    assert counts == {"liver": (7 * 6, 7 * 3, 0)}
    whole = dict(tested=("spleen",), trained=("kidney",))  # the spleen covers the kidney
    protocol = made(shards=shards, setting=2, **whole)
    counts = alpnet.left_over(protocol, shards)
    assert counts == {"kidney": (7 * 3, 0, 7)}
    told = alpnet.describe_alpnet(protocol, counts)
    assert "kidney: 0 of 21 training slices, none in 7 patient(s)" in told
    assert digest(protocol) in told


def test_the_digest_tells_every_choice_apart_leaks_included():
    variants = [
        made(),
        made(fold=1),
        made(setting=2),
        made("alpnet-legacy"),
        made(tested=("spleen",)),
        made()._replace(leaks=("shared-patients",)),
        made(shards=belly(11)),
    ]
    assert len({digest(each) for each in variants}) == len(variants)
    assert digest(made()) == digest(made()) and len(digest(made())) == 8


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(fold=5), "`fold=5`: protocol alpnet has folds 0 to 4"),
        (dict(tested=("liver", "kidney")), "organ liver would be trained on and tested"),
        (dict(trained=()), "needs organs to test and others to train on"),
        (dict(shards=belly(9)), "9 patients are too few"),
    ],
)
def test_what_no_protocol_can_be_made_of_is_refused(options, message):
    with pytest.raises(BadInput, match=message):
        made(**options)


@pytest.mark.skipif(not CHAOS.exists(), reason="needs the real scans in ../shared/data")
def test_on_chaos_any_of_exclusion_leaves_a_kidney_in_49_of_344_slices(tmp_path):
    prepare([CHAOS], tmp_path, workers=1)
    shards = open_shards([tmp_path])
    kidneys = ("left_kidney", "right_kidney")
    how = dict(tested=("liver", "spleen"), trained=kidneys, setting=2)
    hidden = alpnet.hidden_slices(made(shards=shards, **how), shards)
    slices, left, bare = 0, 0, 0
    for number, volume in enumerate(shards.volumes):
        kidney = np.flatnonzero(sum(volume.counts.get(organ, 0) for organ in kidneys))
        kept = [n for n in kidney if n not in hidden.get(number, ())]
        slices += len(volume.counts[kidneys[0]])
        left += len(kept)
        bare += not kept
    assert (slices, left, bare) == (344, 49, 2)
