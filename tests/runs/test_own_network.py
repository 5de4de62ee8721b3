"""A network of a user's own, from the command line through training, test and prediction."""

import dataclasses
import importlib
import itertools
import json
from functools import partial

import jax
import pytest

from jaxmeta.commands.train import parse
from jaxmeta.errors import BadInput
from jaxmeta.methods.networks import network_of
from jaxmeta.methods.networks.own_network import own_network
from jaxmeta.methods.networks.segment_anything import SamTiny
from jaxmeta.methods.transfer import Transfer
from jaxmeta.runs import checks
from jaxmeta.runs.build import build
from jaxmeta.runs.config import Config
from jaxmeta.runs.config_file import read_config
from jaxmeta.runs.presets import with_method
from jaxmeta.runs.run import open_run
from jaxmeta.runs.train import meta_train
from tests.helpers.predicting import options

TINY = """
import json
import jax, jax.numpy as jnp
from jaxmeta.models import Model, unet

def tiny(classes, width=3):
    def init(key):
        first, last = jax.random.split(key)
        return dict(
            first=jax.random.normal(first, (3, 3, 1, width)) / 3,
            last=jax.random.normal(last, (1, 1, width, classes)),
        )

    def convolve(image, kernel):
        order = ("NHWC", "HWIO", "NHWC")
        return jax.lax.conv_general_dilated(image, kernel, (1, 1), "SAME", dimension_numbers=order)

    def apply(variables, image, prompt=(), *, key=None, train=False):
        return convolve(jax.nn.softplus(convolve(image, variables["first"])), variables["last"]), ()

    return Model(init, apply)

def wider(classes):
    return tiny(classes, width=5)

def none(classes):
    return None

def failing(classes):
    raise RuntimeError("no such width")

def one_output(classes):
    return tiny(1)

def half(classes):
    model = tiny(classes)
    return Model(model.init, lambda v, image, *_, **how: (model.apply(v, image)[0][:, ::2], ()))

def alone(classes):
    model = tiny(classes)
    return Model(model.init, lambda v, image, prompt=(), **how: model.apply(v, image)[0])

def unasked(classes):
    return Model(lambda key: {}, lambda variables, image: (image, ()))

number = 3

def unread(classes):
    return json.loads("no JSON")

def unfit(classes):
    inner = unet((4, 8), groups=3)
    return Model(lambda key: inner.init(key), lambda *given, **how: inner.apply(*given, **how))

def in_jax(classes):
    return Model(lambda key: jnp.zeros((2, 3)) @ jnp.zeros((2, 3)), lambda *given, **how: None)
"""
NAMES = (f"nets{n}" for n in itertools.count())  # Python imports a name once


@pytest.fixture
def nets(tmp_path, monkeypatch):
    """A module in the working directory, under a name that nobody has imported."""
    name = next(NAMES)
    (tmp_path / f"{name}.py").write_text(TINY)
    monkeypatch.chdir(tmp_path)
    return name


def test_the_command_line_takes_a_network_by_its_function_alone(nets):
    for preset in ("unet-maml", "transfer", "metamedseg-small"):
        _, config = parse([preset, "--own-network", f"{nets}:tiny", "--tasks.size", "16"])
        assert config.own_network == f"{nets}:tiny"
        checks.check(config)
    _, config = parse(["transfer", f"--own-network={nets}:tiny"])
    assert config.outer == with_method(Config(), Transfer()).outer
    config = dataclasses.replace(config, tasks=dataclasses.replace(config.tasks, size=16))
    state = jax.eval_shape(
        build(dataclasses.replace(config, structures=("a/b",) * 7)).init, jax.random.key(0)
    )
    assert (1, 1, 3, 7) in {leaf.shape for leaf in jax.tree.leaves(state.meta.learned)}, "heads"


def test_it_takes_the_place_of_any_network_that_is_named_beside_it(nets):
    config = Config(network=SamTiny(), own_network=f"{nets}:tiny")
    network = network_of(config)
    assert network.model(config, 2).init(jax.random.key(0))["last"].shape == (1, 1, 3, 2)
    assert network.begin(config, lambda: "learned") == "learned", "none of Segment Anything's"


def test_a_module_may_lie_in_a_package_of_the_working_directory(nets, tmp_path):
    package = next(NAMES)
    (tmp_path / package).mkdir()
    (tmp_path / package / "inside.py").write_text(TINY)
    model = own_network(f"{package}.inside:wider", 2, 16)
    assert jax.eval_shape(model.init, jax.random.key(0))["first"].shape == (3, 3, 1, 5)


@pytest.mark.parametrize(
    "function, told",
    [
        ("tiny", "write module:function, for instance my_package.nets:tiny"),
        ("NAME:", "write module:function"),
        ("nowhere_at_all:tiny", "ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("NAME:missing", "has no function missing"),
        ("NAME:number", "has no function number"),
        ("NAME:none", r"returned NoneType; it takes the number of outputs and returns a jaxmeta"),
        ("NAME:failing", r"RuntimeError: no such width \(.*nets\d+.py, line 30\)"),
        ("NAME:unread", r"JSONDecodeError: Expecting value.* \(\S*/nets\d+.py, line 49\)$"),
        ("NAME:unfit", r" \(\S*/nets\d+.py, line 53\)$"),
        ("NAME:in_jax", r" \(\S*/nets\d+.py, line 56\)$"),
        ("NAME:one_output", r"of shape \(2, 16, 16, 1\), and should be \(2, 16, 16, 2\)"),
        ("NAME:half", r"of shape \(2, 8, 16, 2\), and should be \(2, 16, 16, 2\)"),
        ("NAME:alone", r"apply must return \(logits, state\)"),
        ("NAME:unasked", "TypeError: .*unexpected keyword argument 'key'"),
    ],
)
def test_what_is_no_network_is_refused_in_one_line(nets, function, told):
    with pytest.raises(BadInput, match=told) as refused:
        own_network(function.replace("NAME", nets), 2, 16)
    assert str(refused.value).startswith("`own_network=") and "\n" not in str(refused.value)


@pytest.fixture
def own(config, nets, tmp_path):
    return dataclasses.replace(
        config, own_network=f"{nets}:tiny", workdir=tmp_path / "run", steps=1, checkpoint_every=1
    )


def test_a_configuration_names_it_and_another_network_under_its_name_is_refused(
    own, nets, monkeypatch
):
    """A run without a step, so that nothing but the network's own beginning is compiled."""
    own = dataclasses.replace(own, steps=0)
    meta_train(own)
    stands = json.loads((own.workdir / "config.json").read_text())["config"]
    assert stands["own_network"] == f"{nets}:tiny"
    assert read_config(own.workdir / "config.json").own_network == own.own_network
    learned = open_run(own.workdir).state.meta.learned["theta"]
    assert learned["first"].shape == (3, 3, 1, 3)
    written = importlib.import_module(nets)
    monkeypatch.setattr(written, "tiny", partial(written.tiny, width=5))
    told = (
        f"{own.workdir}/checkpoints: step 0 is of another network: meta/learned/.*first has shape"
    )
    told += r" \(3, 3, 1, 3\) there and \(3, 3, 1, 5\) by the config"
    for again in (lambda: open_run(own.workdir), lambda: meta_train(own)):
        with pytest.raises(BadInput, match=told):
            again()


@pytest.mark.slow
def test_it_trains_is_tested_and_predicts(own, scanned, tmp_path):
    from jaxmeta.commands.test import Options, test

    meta_train(own)
    (outcome,) = test(Options(run=(own.workdir,), shots=(2,), support_sets=2))
    assert {case.row for table in outcome.tables for case in table.scores} >= {
        "adapted",
        "no adaptation",
    }
    from jaxmeta.inference.predict import predict

    (mask,) = predict(options(own.workdir, scanned, output=tmp_path / "masks"))
    assert mask.exists()
