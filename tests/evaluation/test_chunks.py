"""Scores by chunks: which network segments which slice, with the oracle and without."""

import numpy as np
import pytest

from jaxmeta.evaluation.protocols.alpnet import by_chunk, by_height, score_by_chunks
from jaxmeta.evaluation.segmenter import Segmenter, together
from jaxmeta.evaluation.trial import Query, Support, Trial
from jaxmeta.evaluation.untrained import nearest_support_mask
from jaxmeta.tasks.task import Examples

SIZE = 4


def support(number, place):
    mask = np.full((1, SIZE, SIZE), number % 2, np.uint8)
    examples = Examples(np.zeros((1, SIZE, SIZE, 1), np.float32), mask, np.ones(1, bool))
    return Support(
        examples,
        np.array([place], np.float32),
        ("d/support",),
        (f"d/support:{number}",),
    )


SUPPORTS = tuple(support(n, place) for n, place in enumerate((0.2, 0.5, 0.8)))


def query(slices, low, high):
    target = np.zeros((slices, SIZE, SIZE), bool)
    target[low : high + 1] = True
    image = np.zeros((slices, SIZE, SIZE, 1), np.float32)
    return Query("d/p", "d/p", image, target, lambda p: p > 0.5, 0, (1.0, 1.0, 1.0))


def numbered(slices):
    """Give each network's own number as its probability."""
    return np.broadcast_to(
        np.arange(3, dtype=np.float32)[:, None, None, None], (3, slices, SIZE, SIZE)
    )


def test_with_the_oracle_each_third_of_the_organ_has_its_own_network_and_the_rest_is_empty():
    chosen = by_chunk(numbered(12), query(12, 2, 7))[:, 0, 0]
    assert chosen.tolist() == [0, 0, 0, 0, 1, 1, 2, 2, 0, 0, 0, 0]


def test_without_it_each_slice_follows_the_nearest_in_relative_height():
    chosen = by_height(numbered(11), together(SUPPORTS))[:, 0, 0]
    assert chosen.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2]


def test_both_scores_are_of_the_same_networks_and_differ_by_what_the_oracle_knows():
    everything = Segmenter(
        "all", lambda s, k: None, lambda f, image, place: np.ones((3, len(image), 4, 4))
    )
    trial = Trial("organ", "d", None, SUPPORTS, (lambda: query(10, 2, 6),))
    found = {score.row: (score, mask) for score, _, mask in score_by_chunks([everything], trial)}
    assert list(found) == ["all", "all, z-range known"]
    whole, known = found["all"][0], found["all, z-range known"][0]
    assert known.dice == 1 and whole.dice == pytest.approx(2 * 5 / (10 + 5))
    assert found["all"][1].all() and found["all, z-range known"][1][:, 0, 0].sum() == 5
    assert whole.support_slices == "d/support:0 d/support:1 d/support:2"
    assert whole.support_patients == "d/support"


def test_where_there_is_no_organ_only_the_score_without_oracle_is_asked():
    everything = Segmenter(
        "all", lambda s, k: None, lambda f, image, place: np.ones((3, len(image), 4, 4))
    )
    trial = Trial("organ", "d", None, SUPPORTS, (lambda: query(10, 2, 1),))
    ((score, _, _),) = score_by_chunks([everything], trial)
    assert (score.row, score.dice, score.outcome) == ("all", 0, "false alarm")


def test_a_copied_mask_is_that_of_the_slice_s_own_support():
    trial = Trial("organ", "d", None, SUPPORTS, (lambda: query(9, 0, 8),))
    found = {
        score.row: mask for score, _, mask in score_by_chunks([nearest_support_mask("copy")], trial)
    }
    assert found["copy, z-range known"][:, 0, 0].tolist() == [0, 0, 0, 1, 1, 1, 0, 0, 0]
