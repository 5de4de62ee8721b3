"""The study of what learns nothing: asked as a test asks, kept, and read again."""

import re
from pathlib import Path

import pytest

from experiments.studies import without_training
from experiments.studies.kept_cases import read, table, write
from experiments.studies.without_training import NEAREST, Options, changed, scored
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.baselines import UNTRAINED

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("even", [False, True])
def test_both_rows_are_asked_the_same_and_kept(scanned, tmp_path, even):
    options = Options(
        data=(scanned / "shards",),
        test_organs=("spleen",),
        shots=(2,),
        size=16,
        support_sets=2,
        even=even,
        change=("weight=0,rounds=0",),
    )
    rows = (NEAREST, UNTRAINED, *options.change)
    scores = list(scored(options))
    cases = {row: [(s.case, s.support_set) for s in scores if s.row == row] for row in rows}
    assert cases[UNTRAINED] == cases[NEAREST] == cases[rows[2]] and cases[NEAREST]
    dice = {row: [s.dice for s in scores if s.row == row] for row in rows}
    assert dice[UNTRAINED] != dice[rows[2]], "another setting is another row"
    assert all(score.patient not in score.support_patients.split() for score in scores)
    write(tmp_path / "kept.csv", scores, rows)
    kept, own = (table(each, NEAREST) for each in (read(tmp_path / "kept.csv"), scores))
    assert sorted(kept.splitlines()) == sorted(own.splitlines())


def test_other_settings_are_by_name():
    rule = changed("search.side=7,rounds=0,weight=1.5")
    assert (rule.search.side, rule.rounds, rule.weight) == (7, 0, 1.5)
    with pytest.raises(BadInput, match="`change=wight=1`: the rule has image_blur"):
        changed("wight=1")


KEPT = sorted(Path(without_training.__file__).parent.glob("without_training_*.csv"))


@pytest.mark.parametrize("kept", KEPT, ids=[path.stem for path in KEPT])
def test_the_record_has_the_numbers_of_the_cases_that_are_kept(kept):
    record = (ROOT / "RESULTS.md").read_text(encoding="utf-8")
    numbers = re.findall(r"[+-]?\.\d{3} \[\S+ \S+\]", table(read(kept), NEAREST))
    several = len({score.run for score in read(kept)}) > 1
    assert len(numbers) == 6 + 2 * several, "two rows and differences, of five slices and of one"
    for each in numbers:
        mean, low, high = re.findall(r"-?\.\d{3}", each)
        assert re.search(rf"\+?{mean} \[\+?{low}, \+?{high}\]", record), each
