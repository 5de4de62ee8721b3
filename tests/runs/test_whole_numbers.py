"""A whole number is accepted wherever a number is: on the command line, in files, by functions."""

import dataclasses
from typing import get_args, get_type_hints

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxmeta.algorithms import imaml, maml, maml_plus_plus, metamedseg, prototypes, ssm_sam
from jaxmeta.algorithms.ssm_sam import Online
from jaxmeta.augmentation.warps import pose
from jaxmeta.commands.train import parse
from jaxmeta.evaluation.finetune import finetuned
from jaxmeta.inner_loop.transforms import clip_norm, scale_by
from jaxmeta.losses.segmentation import segmentation_loss
from jaxmeta.runs.build import build, outer_rule
from jaxmeta.runs.config import Config, Outer
from jaxmeta.runs.config_file import from_json
from tests.helpers.matrix import pixel_loss
from tests.helpers.one_number import SHOWN, TASK
from tests.helpers.small import MODEL, small_task


def floats(config, path=()):
    """List where in a configuration a number stands that need not be whole."""
    for name, hint in get_type_hints(type(config)).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            yield from floats(value, (*path, name))
        elif float in (hint, *get_args(hint)):
            yield (*path, name)


FIELDS = list(floats(Config()))


def of(config, path):
    for name in path:
        config = getattr(config, name)
    return config


def test_there_are_such_fields():
    assert {("method", "rate"), ("outer", "rate"), ("augment", "flip")} <= set(FIELDS)
    assert len(FIELDS) > 25


@pytest.mark.parametrize("path", FIELDS, ids=".".join)
def test_files_may_hold_a_whole_number(path):
    several = isinstance(of(Config(), path), tuple)
    values = [1] if several else 1
    for name in reversed(path):
        values = {name: values}
    found = of(from_json(Config, values), path)
    found = found[0] if several else found
    assert found == 1 and isinstance(found, float)


def test_the_command_line_may_hold_whole_numbers():
    for path in (
        ("method", "rate"),
        ("outer", "rate"),
        ("outer", "clip"),
        ("tasks", "negative_fraction"),
    ):
        found = of(parse(["--" + ".".join(path), "1"])[1], path)
        assert found == 1 and isinstance(found, float)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("optimizer", ["adamw", "sgd"])
def test_every_rule_of_the_meta_parameters_takes_them(schedule, optimizer):
    """A warm-up over all steps too."""
    parameters = dict(a=jnp.ones(3))
    for warmup in (0, 1):
        how = Outer(optimizer, schedule, rate=1, warmup=warmup, clip=1, weight_decay=1)
        rule = outer_rule(how, 10)
        moved, _ = rule.update(parameters, rule.init(parameters), parameters)
        assert jnp.isfinite(moved["a"]).all()


LOSS = pixel_loss(MODEL)
SGD = optax.sgd(1)
STEPS = dict(steps=2)
MADE = {
    "maml": lambda: maml(MODEL, LOSS, rate=1, decay=1, **STEPS),
    "meta-sgd": lambda: maml(MODEL, LOSS, rate=1, learn_rate=True, order=1, **STEPS),
    "clipped": lambda: maml(MODEL, LOSS, rate=1, inner=optax.chain(clip_norm(1), SGD), **STEPS),
    "maml++": lambda: maml_plus_plus(MODEL, LOSS, rate=1, decay=1, **STEPS),
    "imaml": lambda: imaml(MODEL, LOSS, strength=1, inner=SGD, **STEPS),
    "metamedseg": lambda: metamedseg(
        MODEL, LOSS, epochs=2, inner=SGD, decay=1, tuning_decay=1, tuning_epochs=1
    ),
    "prototypes": lambda: prototypes(MODEL, pixel_loss, scale=20),
}


@pytest.mark.parametrize("name", MADE)
def test_algorithms_take_them(name):
    algorithm, task = MADE[name](), small_task(1)
    meta = algorithm.init(jax.random.key(0))
    jax.eval_shape(algorithm.outer, meta, task)
    jax.eval_shape(algorithm.adapt, meta, task.support, jax.random.key(0))


def test_ssm_sam_takes_them():
    algorithm = ssm_sam(SHOWN, chunk=2, passes=1, rate=1, online=Online(2, 1, 1))
    meta = algorithm.init(jax.random.key(0))
    jax.eval_shape(algorithm.outer, meta, TASK)
    jax.eval_shape(algorithm.adapt, meta, TASK.support, jax.random.key(0))


def test_other_functions_take_them():
    loss = segmentation_loss(MODEL, cross_entropy_weight=3, dice_weight=1)
    predictor = finetuned(MODEL, loss, SGD, 2)(1)
    support = small_task(1).support
    jax.eval_shape(predictor.adapt, (support, MODEL.init(jax.random.key(0))), jax.random.key(0))
    pose(jax.random.key(0), 10, 1, 1, 0)
    tree = dict(a=jnp.ones(2))
    for alpha in (2, 2.0, np.float32(2), jnp.asarray(2.0), dict(a=jnp.full(2, 2.0))):
        scaled, _ = scale_by(alpha).update(tree, ())
        np.testing.assert_array_equal(scaled["a"], 2)


@pytest.mark.parametrize("algorithm", ["unet-maml", "maml++", "reptile", "transfer"])
def test_a_run_whose_configuration_holds_them_is_built(algorithm):
    config = parse([algorithm])[1]
    config = dataclasses.replace(
        config,
        method=dataclasses.replace(config.method, rate=1, clip=1),
        outer=dataclasses.replace(config.outer, rate=1, clip=1),
        structures=("a/liver",),
    )
    jax.eval_shape(build(config).init, jax.random.key(0))
