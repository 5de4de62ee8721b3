"""The notebook: the same as its script, and it runs, here on a CPU with very few steps of a very
small network, on phantoms of few patients."""

from pathlib import Path

import jupytext
import nbclient
import nbformat
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "experiments"
# Runs before the first cell that makes anything: the notebook's own cells stay as they are.
SMALLER = """
import dataclasses
from functools import partial

from jaxmeta.commands import train
from jaxmeta.evaluation import settings
from jaxmeta.evaluation.finetune import Finetune
from jaxmeta.methods.networks.unet import Unet
from jaxmeta.parallel import devices
from jaxmeta.runs.presets import PRESETS

devices.EFFORT = 0
few = dict(train=2, val=2, test=3)
train.write_phantoms = partial(train.write_phantoms, patients=few)
settings.SHIPPED = {shots: Finetune("sgd", 1.0, 2) for shots in (1, 5)}
preset = PRESETS["unet-maml"]
small = dict(network=Unet(widths=(4, 8), groups=2), validation_tasks=2)
PRESETS["unet-maml"] = preset._replace(config=dataclasses.replace(preset.config, **small))
"""


def cells(notebook):
    return [(cell.cell_type, cell.source) for cell in notebook.cells]


def test_notebook_and_script_are_paired_and_hold_no_outputs():
    notebook = nbformat.read(FOLDER / "colab.ipynb", as_version=4)
    assert cells(notebook) == cells(jupytext.read(FOLDER / "colab.py"))
    assert all(not cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    assert len(notebook.cells) <= 15


@pytest.mark.slow
def test_the_notebook_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("JAXMETA_STEPS", "2")
    monkeypatch.setenv("JAXMETA_WORKDIR", str(tmp_path / "run"))
    notebook = nbformat.read(FOLDER / "colab.ipynb", as_version=4)
    begins = next(n for n, cell in enumerate(notebook.cells) if "PRESETS" in cell.source)
    notebook.cells.insert(begins, nbformat.v4.new_code_cell(SMALLER))
    client = nbclient.NotebookClient(
        notebook, timeout=900, kernel_name="python3", resources={"metadata": {"path": FOLDER}}
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    assert (tmp_path / "run" / "report" / "summary.json").exists()
