"""The study of what learns nothing: asked as a test asks, kept, and read again."""

import pytest

from experiments.studies.without_training import (
    NEAREST,
    ROWS,
    Options,
    changed,
    read,
    scored,
    table,
    write,
)
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.baselines import UNTRAINED


@pytest.mark.parametrize("even", [False, True])
def test_both_rows_are_asked_the_same_and_kept(scanned, tmp_path, even):
    options = Options(
        data=(scanned / "shards",),
        test_organs=("spleen",),
        shots=(2,),
        size=16,
        support_sets=2,
        even=even,
    )
    scores = list(scored(options))
    cases = {row: [(s.case, s.support_set) for s in scores if s.row == row] for row in ROWS}
    assert cases[UNTRAINED] == cases[NEAREST] and cases[NEAREST]
    assert all(score.patient not in score.support_patients.split() for score in scores)
    write(tmp_path / "kept.csv", scores)
    assert table(read(tmp_path / "kept.csv")) == table(scores)


def test_other_settings_are_by_name():
    rule = changed(["search.side=7", "rounds=0", "weight=1.5"])
    assert (rule.search.side, rule.rounds, rule.weight) == (7, 0, 1.5)
    with pytest.raises(BadInput, match="`change=wight=1`: the rule has image_blur"):
        changed(["wight=1"])
