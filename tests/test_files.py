"""Files are whole or not there, and what JSON cannot say is said in a way that it can."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from jaxmeta.files import beside, write_json


class Named(NamedTuple):
    low: float
    where: Path


@dataclass
class Data:
    inside: Named
    several: tuple[int, ...]


def test_json_holds_named_tuples_dataclasses_arrays_and_no_numbers(tmp_path):
    write_json(tmp_path / "a.json", {1: Data(Named(np.nan, Path("x")), (2, 3)), "b": np.arange(2)})
    read = json.loads((tmp_path / "a.json").read_text())
    assert read == {"1": {"inside": {"low": None, "where": "x"}, "several": [2, 3]}, "b": [0, 1]}


def test_a_failure_in_the_middle_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "folder" / "a.txt"
    with beside(path) as part:
        part.write_text("old")
    with pytest.raises(RuntimeError), beside(path) as part:
        part.write_text("half of the n")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [found.name for found in path.parent.iterdir()] == ["a.txt"]


def test_a_writer_that_wrote_nothing_is_told_so(tmp_path):
    with pytest.raises(FileNotFoundError), beside(tmp_path / "a.txt"):
        pass
    assert not list(tmp_path.iterdir())
