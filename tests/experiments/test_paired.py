"""Rows of several tests beside each other: the same cases, kept and read again."""

from pathlib import Path

import pytest

from experiments.studies import paired
from experiments.studies.kept_cases import read, rows_of, table, write
from experiments.studies.paired import gathered
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.baselines import UNTRAINED
from jaxmeta.evaluation.scoring import Score
from jaxmeta.reports.figures import write_scores


def scores(row, dice, organs=("a", "b"), patients=3):
    return [
        Score(row, organ, 0, "s", "s:1", f"p{n}", f"p{n}", dice + 0.01 * n, 0.0, "", shots=5)
        for organ in organs
        for n in range(patients)
    ]


@pytest.fixture
def tested(tmp_path):
    """Two methods tested on two divisions."""
    for name, dice in (("m0", 0.6), ("m1", 0.7), ("t0", 0.65), ("t1", 0.75)):
        path = tmp_path / name / "report" / "scores.csv"
        path.parent.mkdir(parents=True)
        write_scores(path, scores("adapted", dice) + scores(UNTRAINED, 0.5))
    return tmp_path


def test_rows_are_paired_over_divisions_and_kept(tested):
    found = gathered((f"={tested}/m0,{tested}/m1", f"transfer={tested}/t0,{tested}/t1"))
    assert rows_of(found) == ["adapted", UNTRAINED, "transfer, adapted"]
    assert len(found) == 3 * 2 * 6 and {score.run for score in found} == {"0", "1"}
    text = table(found, UNTRAINED)
    assert "| adapted | .660" in text and "| .150 [" in text and "12 cases" in text
    assert "| transfer, adapted | .710" in text and "| .200 [" in text
    write(tested / "kept.csv", found, rows_of(found))
    assert table(read(tested / "kept.csv"), UNTRAINED) == text


def test_rows_that_were_not_asked_everything_stay_empty(tmp_path):
    some = [*scores("adapted", 0.6, organs=("a",)), *scores(UNTRAINED, 0.5)]
    write(tmp_path / "kept.csv", some, ("adapted", UNTRAINED))
    kept = read(tmp_path / "kept.csv")
    assert sum(score.row == "adapted" for score in kept) == 3 and len(kept) == 9


def test_other_cases_are_refused(tested):
    path = tested / "t0" / "report" / "scores.csv"
    write_scores(path, scores("adapted", 0.6, patients=2))
    with pytest.raises(BadInput, match="other cases than the first test of division 0"):
        gathered((f"={tested}/m0", f"transfer={tested}/t0"))
    with pytest.raises(BadInput, match="not there; test the run first"):
        gathered((f"={tested}/m7",))


KEPT = sorted(Path(paired.__file__).parent.glob("paired_*.csv"))
RECORD = Path(__file__).parents[2] / "RESULTS.md"


@pytest.mark.parametrize("kept", KEPT, ids=[path.stem for path in KEPT])
def test_the_record_has_the_numbers_of_the_cases_that_are_kept(kept):
    record = RECORD.read_text(encoding="utf-8").replace("+", "")
    for line in table(read(kept), UNTRAINED).splitlines():
        for cell in line.split("|")[2:]:
            if "[" in cell:
                assert cell.strip() in record, (line, cell)
