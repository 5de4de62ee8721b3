"""Folders of runs say their format: one of another version is refused in one line."""

import json

import pytest

from jaxmeta.errors import BadInput
from jaxmeta.runs.config_file import FORMAT, read_config, read_run
from jaxmeta.runs.run import open_run

OLD = {  # as versions before the format number wrote it
    "config": {
        "algorithm": "meta-sgd",
        "tasks": {"draw": "episodes", "count": 4, "empty": 0.25},
        "inner": {"steps": 4, "optimiser": "sgd", "vary": 0.0, "part": []},
        "weigh": {"rule": "uniform"},
        "begin": None,
        "every": 200,
    },
    "split": {
        "train_organs": ["liver"],
        "val_organs": [],
        "test_organs": ["spleen"],
        "train_patients": ["a/1"],
        "test_patients": ["a/2"],
    },
}


@pytest.fixture(params=[OLD, OLD | {"format": FORMAT + 1}], ids=["without a number", "newer"])
def other(tmp_path, request):
    """The folder of a run of another version, with a checkpoint that nobody can read."""
    (tmp_path / "config.json").write_text(json.dumps(request.param))
    step = tmp_path / "checkpoints" / "800" / "state"
    step.mkdir(parents=True)
    (step / "array").write_bytes(b"learned/theta")
    return tmp_path


@pytest.mark.parametrize(
    "opened", [open_run, read_run, lambda run: read_config(run / "config.json")]
)
def test_a_run_of_another_version_is_refused_with_the_way_on(other, opened):
    with pytest.raises(BadInput, match=f"reads format {FORMAT}: train the run again") as told:
        opened(other)
    assert str(other / "config.json") in str(told.value) and "\n" not in str(told.value)


def test_fields_of_one_s_own_need_no_number(tmp_path):
    (tmp_path / "mine.json").write_text('{"steps": 7}')
    assert read_config(tmp_path / "mine.json").steps == 7
