"""Tests within volumes: who gives, that those who give are not scored, and what the released code
counts."""

from functools import partial

import nibabel as nib
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import open_shards
from jaxmeta.evaluation.protocol import Conditions, request_of
from jaxmeta.evaluation.protocols import PROTOCOLS
from jaxmeta.evaluation.protocols.released import (
    RELEASED,
    Counting,
    as_released,
    dice_as_released,
)
from jaxmeta.evaluation.protocols.within_volume import (
    AskedVolume,
    budget,
    cut_chunks,
    score_within,
    segmented_chunks,
    trials,
)
from jaxmeta.evaluation.segmenter import Segmenter
from jaxmeta.evaluation.untrained import nearest_support_mask
from jaxmeta.methods.options import Episodes
from jaxmeta.runs.config import Config
from jaxmeta.splits.pool import pool
from jaxmeta.splits.split import split
from tests.helpers.cohorts import write_scans


@given(st.sets(st.integers(0, 50), min_size=1), st.integers(2, 6))
def test_every_slice_is_a_support_or_asked_once(slices, width):
    chunks_cut = cut_chunks(sorted(slices), slices, width)
    support_slices = [support_slice for support_slice, _ in chunks_cut]
    asked = [n for _, others in chunks_cut for n in others]
    assert len(set(support_slices)) == len(support_slices) and len(set(asked)) == len(asked)
    assert not set(support_slices) & set(asked)
    alone = slices - set(support_slices) - set(asked)
    assert all(others and len(others) < width for _, others in chunks_cut)
    assert not alone or len(slices) < 2 or len(alone) < width


@given(st.sets(st.integers(0, 50), min_size=1), st.sets(st.integers(0, 50)), st.integers(2, 6))
def test_only_slices_in_which_the_organ_is_seen_are_supports(slices, seen, width):
    chunks_cut = cut_chunks(sorted(slices), seen, width)
    assert {support_slice for support_slice, _ in chunks_cut} <= seen & slices
    asked = [n for _, others in chunks_cut for n in others]
    assert len(set(asked)) == len(asked) and set(asked) <= slices
    for support_slice, others in chunks_cut:
        run = sorted([support_slice, *others])
        assert len([n for n in slices if run[0] <= n <= run[-1]]) <= width


def test_the_nearest_to_the_middle_is_the_support():
    assert cut_chunks([1, 2, 3, 4, 5], {1, 2, 5}, 5) == [(2, [1, 3, 4, 5])]
    assert cut_chunks([1, 2, 3, 4, 5], {1, 2, 3, 4, 5}, 5) == [(3, [1, 2, 4, 5])]
    assert cut_chunks([1, 2, 3], set(), 3) == []


def asked_of(held_out, neighbors, size=16):
    config = Config(tasks=Episodes(size=size, spacing=0.0))
    request = request_of(config, conditions=Conditions(neighbors=neighbors))
    (trial,) = trials(held_out, request)
    return trial


@pytest.fixture(scope="module")
def held_out(tmp_path_factory):
    root = tmp_path_factory.mktemp("within")
    write_scans(root / "belly", ["liver", "kidney"], 4, 0)
    prepare([root / "belly"], root / "shards", size=16, workers=1)
    shards = open_shards([root / "shards"])
    division = split(shards, test_organs=["kidney"], val_organs=[], seed=0)
    return pool(shards, division, "test")


@pytest.fixture(scope="module")
def asked(held_out):
    return asked_of(held_out, 3)


def knowing(asked):
    """A row that answers with the truth of the slices of its support slice's own chunk, and of no
    others."""
    known = {}
    for load in asked.queries:
        volume = load()
        for support, chunk in zip(volume.supports, volume.asked, strict=True):
            known[support.slices[0]] = volume, chunk

    def fit(supports, keys):
        return [known[slices[0]] for slices in supports.slices]

    def segment_each(fitted, image, prompt=()):
        found = np.zeros(image.shape[:4], np.float32)
        for number, ((volume, chunk), images) in enumerate(zip(fitted, image, strict=True)):
            for place, each in enumerate(images):
                n = int(np.argmin(np.abs(volume.query.image - each).sum((1, 2, 3))))
                found[number, place] = volume.truth[n] * (n in chunk)
        return found

    return Segmenter("knowing", fit, None, segment_each)


def test_a_slice_is_answered_by_its_own_chunk_and_support_slices_do_not_count(asked):
    scores = list(score_within([knowing(asked), nearest_support_mask("copied")], asked))
    rows = {score.row for score, _, _ in scores}
    assert rows == {"knowing", "copied"} and len(scores) == 2 * len(asked.queries)
    for score, query, mask in scores:
        if score.row == "knowing":
            assert score.dice > 0.8  # 1 but for the resize from 16 pixels
        assert np.isnan(score.hd95) and score.support_patients == query.patient
        given = [int(at.split(":")[1]) for at in score.support_slices.split()]
        assert not mask[given].any() and not query.target[given].any()
        others = query.target.any((1, 2))
        assert not mask[~others].any()  # nor where nothing was asked
    nothing = knowing(asked)._replace(
        name="nothing", segment_each=lambda f, i, g=(): np.zeros(i.shape[:4], np.float32)
    )
    for score, _, _ in score_within([nothing], asked):
        assert score.dice == 0


def test_clicks_lie_on_the_truth_of_what_is_asked(asked):
    seen = []

    def segment_each(fitted, image, prompt=()):
        seen.append((fitted, prompt))
        return np.zeros(image.shape[:4], np.float32)

    row = knowing(asked)._replace(segment_each=segment_each)
    list(score_within([row], asked, clicks=5))
    volume = asked.queries[0]()
    fitted, given = seen[0]
    assert given.shape[2:] == (5, 2)
    for number, chunk in enumerate(volume.asked[:1]):
        for place, n in enumerate(chunk):
            x, y = given[number, place].astype(int).T
            assert volume.truth[n][y, x].all()


def test_the_budget_counts_supports_who_is_asked_and_who_shows_the_organ(asked):
    """The organ's slices are counted from the volumes themselves, at their own resolution."""
    truth = [load().query.target.any((1, 2)) for load in asked.queries]
    given = [len(load().supports) for load in asked.queries]
    others = [sum(map(len, load().asked)) for load in asked.queries]
    assert asked.shown == sum(each.sum() for each in truth)
    assert asked.labelled + asked.asked <= asked.shown and min(given) > 0
    assert budget([asked]) == (
        f"slices labelled, of those that show the organ: kidney {sum(given)} of {asked.shown} "
        f"({sum(others)} asked)"
    )


def released(values, truth, asked):
    volume = AskedVolume(None, np.asarray(truth, np.uint8), (), asked)
    score = partial(dice_as_released, np.asarray(values, np.float32), volume)
    return lambda least, **how: score(Counting(least, **how))


def test_the_released_score_by_hand():
    """At 32 pixels a border of 1 never counts, 0.66 is nothing, and bad chunks are dropped."""
    truth = np.zeros((3, 32, 32))
    truth[:, 4:8, 4:8] = 1
    values = 0.9 * truth
    values[1] = 0.66 * truth[1]
    score = released(values, truth, ((0,), (1,), (2,)))
    assert score(0.0) == pytest.approx(2 / 3) and score(0.3) == 1
    values[2, 0] = 1.0  # the border is left out
    assert released(values, truth, ((2,),))(0.0) == 1
    assert np.isnan(released(0 * truth, truth, ((0,), (1,)))(0.1))


def test_each_part_of_the_released_score_can_be_left_out():
    truth = np.zeros((2, 32, 32))
    truth[:, 0:4, 4:8] = 1  # a quarter of it lies on the border
    score = released(0.6 * truth, truth, ((0,), (1,)))
    assert score(0.0) == 0
    assert score(0.0, threshold=0.5) == pytest.approx(2 * 12 / (12 + 16))
    assert score(0.0, threshold=0.5, border=0.0) == 1


def test_a_released_score_stands_beside_the_other(asked):
    protocol = as_released(PROTOCOLS["within-volume"], Counting(0.3))
    scores = [score for score, _, _ in protocol.score([knowing(asked)], asked)]
    assert {score.row for score in scores} == {"knowing", "knowing" + RELEASED}


@pytest.mark.parametrize("support_sets", [1, 2, 4])
def test_each_slice_is_answered_by_its_own_support_however_many_chunks_fit_into_a_call(
    held_out, monkeypatch, support_sets
):
    """A row that answers with the number of the slice that it was adapted to."""
    monkeypatch.setattr("jaxmeta.evaluation.protocols.within_volume.AT_ONCE", support_sets)
    trial = asked_of(held_out, 2)

    def fit(supports, keys):
        return [float(slices[0].split(":")[1]) for slices in supports.slices]

    def segment_each(fitted, image, prompt=()):
        return np.ones(image.shape[:4], np.float32) * np.reshape(fitted, (-1, 1, 1, 1))

    volume = trial.queries[0]()
    assert len(volume.asked) == 3
    found = segmented_chunks(
        Segmenter("support slice", fit, None, segment_each), volume, trial, 0, 0
    )
    for support, asked in zip(volume.supports, volume.asked, strict=True):
        assert (found[list(asked)] == float(support.slices[0].split(":")[1])).all()


def test_the_released_score_is_a_mean_of_chunks_and_not_of_slices():
    truth = np.zeros((3, 32, 32))
    truth[:, 4:8, 4:8] = 1
    values = 0.9 * truth
    values[2] = 0
    score = released(values, truth, ((0, 1), (2,)))
    assert score(0.0) == pytest.approx(1 / 2)


def test_a_support_shows_the_organ_at_the_network_s_own_size(tmp_path):
    """In the middle slice it is one pixel of 64, which a network of 8 pixels cannot see."""
    write_scans(tmp_path / "belly", ["liver", "kidney"], 4, 0, shape=(64, 64, 10))
    for path in (tmp_path / "belly" / "labelsTr").iterdir():
        scan = nib.load(path)
        label = np.asarray(scan.dataobj).copy()
        slices = np.flatnonzero((label == 2).any((0, 1)))
        assert len(slices) == 6
        label[20:44, 20:44, slices] = 2
        for n in slices[1::3]:  # the middles of chunks of 3
            label[..., n][label[..., n] == 2] = 0
            label[30, 30, n] = 2
        nib.save(nib.Nifti1Image(label, scan.affine), path)
    prepare([tmp_path / "belly"], tmp_path / "shards", size=64, workers=1)
    shards = open_shards([tmp_path / "shards"])
    division = split(shards, test_organs=["kidney"], val_organs=[], seed=0)
    trial = asked_of(pool(shards, division, "test"), 3, size=8)
    for load in trial.queries:
        volume = load()
        for support in volume.supports:
            assert np.asarray(support.examples.mask).any()
