"""Every benchmark runs at its smallest size, and its figures are numbers."""

import csv
import json
import math
import sys

import jax
import pytest

from experiments import benchmark
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.models.sam import SIZES
from jaxmeta.parallel import devices
from tests.helpers.cohorts import write_scans

SAM = ["--size", "tiny", "--image", "64", "--repeat", "1"]
SMALL = {
    "prepare": ["--input", "SCANS", "--repeat", "1"],
    "load": ["--data", "SHARDS", "--size", "8", "--tasks", "1", "--slices", "2", "--batches", "1"],
    "metrics": ["--shape", "24", "24", "12"],
    "masks": ["--shape", "32", "32", "12", "--volumes", "2"],
    "meta-step": "--size 8 --width 8 --steps 1 --tasks 1 --shots 1 --repeat 1".split(),
    "mlb-step": "--size 8 --width 8 --unlabelled 1 --clean 1 --repeat 1".split(),
    "adapt": "--size 8 --width 8 --steps 1 --shots 1 --repeat 1".split(),
    "volumes": "--size 16 --tasks 2 --slices 2 --fill 0.75 --epochs 1 --repeat 1".split(),
    "encode": SAM,
    "adapt-sam": [*SAM, "--steps", "1", "--chunk", "1"],
    "step-sam": [*SAM, *"--organs 1 --shots 1 --queries 1 --passes 1 --chunk 1".split()],
}
QUICK = ("prepare", "load", "metrics", "masks")
FOUR = SIZES["tiny"]._replace(depth=4, whole=(1, 3))


@pytest.fixture(autouse=True)
def compiled_in_no_time(monkeypatch):
    """What is measured here is nothing: compile as tests do, and half of the small network."""
    monkeypatch.setattr(devices, "jit", jax.jit)
    monkeypatch.setitem(SIZES, "tiny", FOUR)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Three patients, as they were scanned and prepared."""
    root = tmp_path_factory.mktemp("benchmarks")
    write_scans(root / "scans", ["liver"], 3, 0)
    prepare([root / "scans"], root / "shards", size=16, workers=1)
    return {"SCANS": str(root / "scans"), "SHARDS": str(root / "shards")}


def test_every_benchmark_is_tried():
    assert set(SMALL) | {"sweep"} == set(benchmark.COMMANDS)


@pytest.mark.parametrize(
    "name", [pytest.param(n, marks=() if n in QUICK else pytest.mark.slow) for n in SMALL]
)
def test_figures_are_finite(name, folders, monkeypatch, capsys):
    options = [folders.get(option, option) for option in SMALL[name]]
    monkeypatch.setattr(sys, "argv", ["benchmark", name, *options, "--json"])
    benchmark.main()
    figures = json.loads(capsys.readouterr().out)
    numbers = [value for value in figures.values() if isinstance(value, int | float)]
    assert numbers and all(math.isfinite(value) and value >= 0 for value in numbers)
    assert any("second" in key or key.endswith("_s") for key in figures)


@pytest.mark.slow
def test_a_sweep_writes_its_figures_and_their_picture(tmp_path, monkeypatch):
    options = (
        f"--over size --values 8 --memory remat --width 8 --repeat 1 --output {tmp_path}/a.png"
    )
    monkeypatch.setattr(sys, "argv", ["benchmark", "sweep", *options.split()])
    benchmark.main()
    with (tmp_path / "a.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["size"] == "8" and row["memory"] == "remat"
    assert all(float(row[name]) > 0 for name in ("seconds", "compile_seconds"))
    assert (tmp_path / "a.png").stat().st_size > 1000
