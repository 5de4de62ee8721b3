"""What the README shows runs as it stands there."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from jaxmeta.commands.train import parse
from jaxmeta.data.shards.prepare import prepare
from tests.helpers.cohorts import write_scans

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
(NOTEBOOK,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_what_the_notebook_imports_is_there():
    lines = [
        node for node in ast.parse(NOTEBOOK).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    exec(compile(ast.Module(lines, []), "README.md", "exec"), {})


@pytest.mark.slow
def test_the_notebook_goes_from_shards_to_a_mask(tmp_path, monkeypatch):
    """As pasted, but for the number of its steps; beside the module's own shards."""
    write_scans(tmp_path / "belly", ["liver", "kidney", "spleen"], 6, 0)
    prepare([tmp_path / "belly"], tmp_path / "shards", size=64, workers=1)
    monkeypatch.chdir(tmp_path)
    assert NOTEBOOK.count("range(800)") == 1
    notebook = {}
    exec(compile(NOTEBOOK.replace("range(800)", "range(2)"), "README.md", "exec"), notebook)
    assert notebook["mask"].shape == notebook["scan"].target.shape == (10, 20, 24)
    assert notebook["mask"].dtype == bool
    assert np.isfinite(notebook["metrics"]["meta_gradient_norm"])
    assert notebook["test"].organ == "spleen" not in notebook["division"].train_organs


def commands() -> list[list[str]]:
    """List the words of every `meta_train` command that the README shows whole."""
    text = README.replace("\\\n", " ")
    found = re.findall(r"^ *(?:srun )?python -m experiments\.meta_train(.*)$", text, re.MULTILINE)
    return [line.split(" && ")[0].split() for line in found]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_training_command_of_it_is_understood(words):
    parse(words)


def test_it_shows_training_commands():
    assert len(commands()) >= 2
