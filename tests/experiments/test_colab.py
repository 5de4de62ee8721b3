"""The notebook: the same as its script, and it runs, here on a CPU with very few steps."""

from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "experiments"


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_notebook_and_script_are_paired_and_hold_no_outputs():
    notebook = nbformat.read(FOLDER / "colab.ipynb", as_version=4)
    assert cells(notebook) == cells(jupytext.read(FOLDER / "colab.py"))
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    assert len(notebook.cells) <= 15


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMETA_STEPS", "4")
    monkeypatch.setenv("JAXMETA_WORKDIR", str(tmp_path / "run"))
    notebook = nbformat.read(FOLDER / "colab.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": FOLDER}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert (tmp_path / "run" / "report" / "summary.json").exists()
