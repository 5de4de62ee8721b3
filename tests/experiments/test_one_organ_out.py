"""What RESULTS.md shows of the study that leaves one organ out is made of the cases that it
keeps."""

from pathlib import Path

import pytest

from experiments.studies import one_organ_out

RESULTS = (Path(__file__).resolve().parents[2] / "RESULTS.md").read_text()


@pytest.mark.parametrize("test", one_organ_out.TESTS)
def test_the_tables_of_the_heart_are_made_of_the_kept_cases_again(test):
    splits = one_organ_out.GROUPS["heart, three seeds"]
    cases = [c for c in one_organ_out.read() if c["test"] == test and c["split"] in splits]
    _, *lines = one_organ_out.table(cases)
    for line in lines:
        name, *numbers = line
        bold = f"**{name}**" if name == "SSM-SAM" else name
        assert f"| {' | '.join([bold, *numbers])} |" in RESULTS
