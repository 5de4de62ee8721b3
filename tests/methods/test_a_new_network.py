"""A network is one file and a name in `ALL`: one that only this test knows is put into a copy of
the package, which then has it on the command line, in a run's config.json and in training."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "jaxmeta"
ITS_FILE = '''
"""A line for every pixel."""

import jax
import jax.numpy as jnp

from jaxmeta.errors import BadInput
from jaxmeta.methods.networks.network import Network
from jaxmeta.models import Model
from jaxmeta.options import options


@options
class Pixelwise:
    """A line for every pixel."""

    slope: float = 1.0
    """Slope that every line begins with."""


def model(config, outputs, *, features=False):
    def init(key):
        return {"slope": jnp.full(outputs, config.network.slope), "bias": jnp.zeros(outputs)}

    def apply(variables, image, prompt=(), *, key=None, train=False):
        slope, bias = (variables[name][None, None, None] for name in ("slope", "bias"))
        return image * slope + bias, ()

    return Model(init, apply)


def check(config):
    if config.network.slope == 0:
        raise BadInput("`network.slope=0`: sees nothing")


PIXELWISE = Network("pixelwise", Pixelwise, model, check=check, transfer_rate=3e-2)
'''
ASKED = """
import contextlib, dataclasses, io, json, sys
import jax, numpy as np
import jaxmeta
from jaxmeta.commands.train import parse
from jaxmeta.errors import BadInput
from jaxmeta.methods.transfer import Transfer
from jaxmeta.runs.build import build
from jaxmeta.runs.checks import check
from jaxmeta.runs.config import to_json
from jaxmeta.runs.presets import with_method
from jaxmeta.tasks.task import Examples, Task

told = io.StringIO()
with contextlib.redirect_stdout(told), contextlib.suppress(SystemExit):
    parse(["--config-file", "own.json", "--help"])
config = parse(["--config-file", "own.json", "--network.slope", "2"])[1]
check(config)
try:
    check(dataclasses.replace(config, network=type(config.network)(slope=0.0)))
except BadInput as error:
    refused = str(error)

image = np.linspace(-1, 1, 128, dtype=np.float32).reshape(1, 2, 8, 8, 1)
some = Examples(image, (image[..., 0] > 0).astype(np.uint8), np.ones((1, 2), bool))
task = Task(some, some, np.zeros((1, 2), np.uint32), np.zeros((1, 2), np.int32))
learner = build(config)
state = jax.jit(learner.init)(jax.random.key(0))
after, metrics = jax.jit(learner.step)(state, task)
theta = [each.meta.learned["theta"]["slope"].item() for each in (state, after)]
print(json.dumps(dict(
    home=jaxmeta.__file__, told=told.getvalue(), refused=refused, theta=theta,
    loss=float(metrics["per_task"]["loss"][0]), written=to_json(config)["network"],
    rate=with_method(config, Transfer()).outer.rate,
)))
"""
OWN = {
    "network": {"type": "pixelwise"},
    "method": {"type": "fomaml", "steps": 1},
    "tasks": {"size": 8, "shots": 2, "queries": 2, "batch_size": 1},
    "augment": dict.fromkeys(("rotate", "zoom", "shift"), 0.0),
    "outer": {"warmup": 0.0},
}


@pytest.fixture(scope="module")
def answered(tmp_path_factory) -> dict:
    """Ask a copy of the package that has one more file and one more name."""
    root = tmp_path_factory.mktemp("copy")
    shutil.copytree(PACKAGE, root / "jaxmeta", ignore=shutil.ignore_patterns("__pycache__"))
    folder = root / "jaxmeta" / "methods" / "networks"
    (folder / "pixelwise.py").write_text(ITS_FILE)
    listed = (folder / "__init__.py").read_text()
    known = "\nALL = (UNET,"
    assert listed.count(known) == 1
    line = "\nfrom jaxmeta.methods.networks.pixelwise import PIXELWISE\n"
    (folder / "__init__.py").write_text(listed.replace(known, f"{line}{known} PIXELWISE,"))
    (root / "own.json").write_text(json.dumps(OWN))
    ended = subprocess.run(
        [sys.executable, "-c", ASKED],
        cwd=root,
        env=os.environ | {"PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout.splitlines()[-1])
    assert found["home"].startswith(str(root))
    return found


def test_the_help_has_its_options_and_no_other_s(answered):
    assert "--network.slope" in answered["told"]
    assert "Slope that every line begins with." in answered["told"]
    assert "--network.widths" not in answered["told"]


def test_the_configuration_names_it(answered):
    assert answered["written"] == {"type": "pixelwise", "slope": 2.0}


def test_a_step_of_training_moves_it(answered):
    before, after = answered["theta"]
    assert before == 2.0 != after
    assert 0 < answered["loss"] < 10


def test_what_it_refuses_and_the_rate_that_it_needs_are_its_own(answered):
    assert answered["refused"] == "`network.slope=0`: sees nothing"
    assert answered["rate"] == 3e-2
