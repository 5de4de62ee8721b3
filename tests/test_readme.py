"""What the README shows runs as it stands there."""

import ast
import re
from pathlib import Path

import numpy as np
import pytest

from jaxmeta.data.shards.prepare import prepare
from tests.helpers.cohorts import write_scans

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
(NOTEBOOK,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_what_the_notebook_imports_is_there():
    lines = [
        node for node in ast.parse(NOTEBOOK).body if isinstance(node, ast.Import | ast.ImportFrom)
    ]
    exec(compile(ast.Module(lines, []), "README.md", "exec"), {})


@pytest.mark.slow
def test_the_notebook_goes_from_shards_to_a_mask(tmp_path, monkeypatch):
    """As pasted, but for its number of steps and of levels; beside the module's own shards."""
    write_scans(tmp_path / "belly", ["liver", "kidney", "spleen"], 6, 0)
    prepare([tmp_path / "belly"], tmp_path / "shards", size=64, workers=1)
    monkeypatch.chdir(tmp_path)
    text = NOTEBOOK
    for told, fewer in (("range(800)", "range(2)"), ("unet((8, 16, 32, 64), ", "unet((8, 16), ")):
        assert text.count(told) == 1
        text = text.replace(told, fewer)
    notebook = {}
    exec(compile(text, "README.md", "exec"), notebook)
    assert notebook["mask"].shape == notebook["scan"].target.shape == (10, 20, 24)
    assert notebook["mask"].dtype == bool
    assert np.isfinite(notebook["metrics"]["scalars"]["meta_gradient_norm"])
    assert notebook["test"].organ == "spleen" not in notebook["division"].train_organs


def test_the_two_commands_stand_as_they_are():
    for command in (
        "pip install -r requirements.txt && python -m experiments.meta_train",
        'pip install -e ".[test]" && pytest',
    ):
        assert README.count(f"```\n{command}\n```") == 1


def test_it_begins_with_a_picture_and_all_pictures_are_there():
    pictures = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", README)
    assert README.index(pictures[0]) < README.index("## ")
    for picture in pictures:
        assert (ROOT / picture).stat().st_size < 300_000
