"""Files are whole or not there, and what JSON cannot say is said in a way that it can."""

import ast
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from etils import epath

from jaxmeta import files
from jaxmeta.data.shards.load import load_images
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import cohort_of, open_shards
from jaxmeta.files import beside, write_json
from tests.helpers.scans import contents, decathlon
from tests.test_layout import MODULES, SOURCES, within


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


@pytest.mark.parametrize("kind", [str, Path, epath.Path])
def test_paths_of_every_kind_are_read_written_and_listed(tmp_path, kind):
    folder = kind(tmp_path / "one" / "two")
    assert files.listing(folder) == [] and not files.is_folder(folder)
    files.make_folder(folder)
    files.make_folder(folder)
    file = files.path_of(folder) / "ä.txt"
    files.write_text(file, "ö\n")
    assert files.listing(folder) == ["ä.txt"] and files.exists(file) and not files.is_folder(file)
    assert (files.read_text(file), files.read_bytes(file)) == ("ö\n", "ö\n".encode())
    assert (files.length(file), files.local(file)) == (3, str(tmp_path / "one/two/ä.txt"))
    assert files.plain({"where": file}) == {"where": os.fspath(file)}
    files.remove(file)
    assert not files.exists(file)
    for gone in (files.read_bytes, files.length, files.remove):
        with pytest.raises(FileNotFoundError):
            gone(file)


def test_shards_are_prepared_and_read_by_paths_of_any_kind(tmp_path):
    belly = decathlon(tmp_path / "belly", 2)
    for kind in (str, epath.Path):
        prepare([kind(belly)], kind(tmp_path / kind.__name__), workers=1)
    one, other = (tmp_path / kind.__name__ for kind in (str, epath.Path))
    assert contents(one) == contents(other)
    shards = [open_shards([kind(one)]) for kind in (str, Path, epath.Path)]
    assert {each.folders for each in shards} == {(str(one),)}
    assert len({cohort_of(each) for each in shards}) == 1
    images = [load_images(each, 1, [0, 4], size=8) for each in shards]
    np.testing.assert_array_equal(images[0], images[2])
    assert prepare([belly], epath.Path(one), workers=1).reused == 2


def test_shards_touch_files_by_the_functions_of_one_file():
    """So that a folder elsewhere than on a disk is that file's matter."""
    own = {"open", "exists", "is_dir", "is_file", "iterdir", "glob", "stat", "unlink", "mkdir"}
    own |= {"replace", "rename", "read_text", "write_text", "read_bytes", "write_bytes"}
    for name in MODULES:
        if not within(name, "jaxmeta.data.shards"):
            continue
        assert not SOURCES[name] & {"pathlib", "shutil", "glob", "etils", "tempfile"}, name
        nodes = ast.walk(ast.parse(MODULES[name].read_text()))
        called = [node.func for node in nodes if isinstance(node, ast.Call)]
        methods = {f.attr for f in called if isinstance(f, ast.Attribute)}
        plain = {f.id for f in called if isinstance(f, ast.Name)}
        assert not methods & own and "open" not in plain, f"{name}: {sorted(methods & own)}"


def test_a_path_becomes_one_of_etils_in_one_file():
    users = {name for name, known in SOURCES.items() if any(within(o, "etils") for o in known)}
    assert {name for name in users if within(name, "jaxmeta.data")} == set()
    assert "jaxmeta.files" in users
