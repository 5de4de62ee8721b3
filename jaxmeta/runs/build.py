"""How a configuration becomes a learner: the one place where strings become functions."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import jax
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxmeta import algorithms
from jaxmeta.algorithms import Algorithm, task_weighting
from jaxmeta.algorithms.ssm_sam import Drawn
from jaxmeta.algorithms.task_weighting import weighting
from jaxmeta.augmentation.augment import augment, upright, varied
from jaxmeta.data.shards.shards import Shards, open_shards
from jaxmeta.errors import BadInput
from jaxmeta.inner_loop.linear_solvers import conjugate_gradient, neumann
from jaxmeta.inner_loop.rematerialise import MIXED, PLAIN, REMAT
from jaxmeta.inner_loop.transforms import clip_norm
from jaxmeta.learners.episodic import episodic
from jaxmeta.learners.learner import Learner
from jaxmeta.losses.of_slices import LOSSES, slice_loss
from jaxmeta.losses.segmentation import segmentation_loss
from jaxmeta.methods.metamedseg.released import compounding
from jaxmeta.methods.ssm_sam.released import chunks_across
from jaxmeta.models import Model, begin_with, instance_unet, unet
from jaxmeta.parallel.devices import side_by_side
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.runs.build_sam import build_sam, build_ssm_sam
from jaxmeta.runs.config import Config, Inner, Outer
from jaxmeta.runs.own_network import own_network
from jaxmeta.splits.decathlon import decathlon
from jaxmeta.splits.split import Pool, Split, pool
from jaxmeta.tasks.episodes import EpisodeShape
from jaxmeta.tasks.slice_chunks import chunks_within
from jaxmeta.tasks.source import (
    Source,
    boxed,
    episodes,
    neighbors,
    pooled,
    shown,
    supervoxels,
    volumes,
)
from jaxmeta.tasks.supervoxels import unlabelled_pool
from jaxmeta.tasks.task import Examples
from jaxmeta.tasks.volumetric import balanced, load_target, target_slices, with_pixels

OPTIMIZERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    # eps_root keeps the derivative of Adam finite where a gradient is 0
    "adam": partial(optax.adam, eps_root=1e-8),
}
CLICKS = Drawn().asked
TARGET_SLICES = 10  # as many as the code released with MetaMedSeg looks at
MEMORY = {"plain": PLAIN, "remat": REMAT, "mixed": MIXED}
RULES = {
    "uniform": task_weighting.uniform,
    "mean": task_weighting.distance_to_mean,
    "meta": task_weighting.distance_to_meta,
    "loss": task_weighting.loss,
    "loss-difference": task_weighting.loss_difference,
    "target": task_weighting.target_validation,
}
SOLVERS = {"cg": conjugate_gradient, "neumann": neumann}


def open_data(config: Config, folders: Sequence[Path] = ()) -> Shards:
    """Open the data of a run, or other folders, as the run sees slices."""
    return open_shards(folders or config.data)._replace(uint8=config.tasks.as_uint8)


def training_pool(
    config: Config, shards: Shards, division: Split, hidden: Mapping[int, frozenset[int]]
) -> Pool:
    """Gather who may be trained on: labelled structures, or scans with supervoxels."""
    if config.tasks.kind == "supervoxels":
        return unlabelled_pool(shards, division, hidden)
    single = config.tasks.single_patients
    return pool(shards, division, "train", single_patients=single, hidden=hidden)


def target_examples(config: Config, shards: Shards, division: Split) -> Examples | None:
    """Read the slices of the organs under test that the rule `target` looks at, if it is the
    run's."""
    if config.task_weights.rule != "target":
        return None
    chosen = target_slices(shards, division, TARGET_SLICES)
    how = dict(size=config.tasks.size, spacing=config.tasks.spacing)
    return load_target(shards, chosen, TARGET_SLICES, **how)


def task_source(config: Config, drawn: Pool, *, training: bool = True) -> Source:
    """Make what tasks are drawn from, of who may be drawn.

    Supervoxels and pooled slices are for training alone: who validates by slices of the patients
    who give the support measures something else. Chunks are validated as new structures are met: by
    what one slice tells of its neighbors.
    """
    t = config.tasks
    shape = EpisodeShape(
        t.shots, t.queries, t.size, t.spacing, t.support_patients, t.negative_fraction
    )
    if t.kind == "supervoxels" and training:
        return supervoxels(drawn, shape, least=t.least_pixels)
    drawn = eligible(config, drawn)
    if t.kind == "chunks" and training:
        cut = chunks_across if t.across else chunks_within
        return neighbors(drawn, shape, width=t.width, stride=t.stride, cut=cut)
    if t.kind == "chunks":
        clicks = CLICKS if config.prompted.prompt == "clicks" else 0
        return shown(drawn, shape, width=t.width, clicks=clicks)
    if config.algorithm == "sam" and not training:
        return boxed(episodes(drawn, shape))
    if t.kind in ("episodes", "supervoxels"):
        return episodes(drawn, shape)
    drawn = drawn if t.decathlon else balanced(drawn)
    return (pooled if t.kind == "pooled" and training else volumes)(drawn, shape)


def validated_by(config: Config) -> str:
    """Say what a validation score knows of the truth, beside every one; nothing for most
    methods."""
    if config.algorithm == "sam":
        return ", each slice told the box around its truth"
    if config.tasks.kind != "chunks":
        return ""
    by_clicks = " and CLICKS ON ITS OWN TRUTH" if config.prompted.prompt == "clicks" else ""
    return f", each slice told its neighbor's mask{by_clicks}"


def eligible(config: Config, drawn: Pool) -> Pool:
    """Keep the slices and structures that count."""
    least = config.tasks.least_pixels
    if least > 1:
        drawn = with_pixels(drawn, least)
        if not drawn.entries:
            raise BadInput(f"--tasks.least-pixels {least}: no slice has as many")
    return decathlon(drawn) if config.tasks.decathlon else drawn


def model_and_loss(config: Config, *, testing: bool = False) -> tuple[Model, Callable]:
    """Make the network with one output, and its loss in training or at test time."""
    model = build_model(config, 1)
    loss = build_loss(config)(model)
    if testing and config.inner.augment:
        loss = varied(loss, upright(config.augment, config.inner.augment))
    return model, loss


def build(
    config: Config,
    *,
    mesh: Mesh | None = None,
    testing: bool = False,
    test_steps: int | None = None,
    network: PyTree = None,
    target: Examples | None = None,
    backbone: PyTree = (),
) -> Learner:
    """Make the learner that trains, or when `testing` predicts.

    `test_steps` stands in for those of the configuration; `network` are variables to begin with,
    `target` the slices that the rule of that name looks at, `backbone` frozen weights that no
    checkpoint holds.
    """
    if test_steps is not None:
        inner = dataclasses.replace(config.inner, test_steps=test_steps)
        config = dataclasses.replace(config, inner=inner)
    return episodic(
        build_algorithm(config, network, testing=testing, target=target),
        outer_rule(config.outer, config.steps),
        partial(over_tasks, mesh=mesh, chunk=at_once(config, mesh)),
        augment=None if config.feature_cache else lambda task: augment(task, config.augment),
        backbone=backbone,
    )


def outer_rule(outer: Outer, steps: int) -> optax.GradientTransformation:
    """Make the optimizer of the meta-parameters for a training of so many steps."""
    steps = max(2, steps)
    warmup = min(max(1, int(outer.warmup * steps)), steps - 1)
    match outer.schedule, outer.warmup > 0:
        case "cosine", True:
            rate = optax.warmup_cosine_decay_schedule(0.0, outer.rate, warmup, steps)
        case "cosine", False:
            rate = optax.cosine_decay_schedule(outer.rate, steps)
        case _, True:
            rate = optax.warmup_constant_schedule(0.0, outer.rate, warmup)
        case _:
            rate = outer.rate
    if outer.optimizer == "adamw":
        rule = optax.adamw(rate, weight_decay=outer.weight_decay, mask=learned_leaves)
    else:
        rule = optax.sgd(rate)
    return optax.chain(optax.clip_by_global_norm(outer.clip), rule) if outer.clip else rule


def learned_leaves(tree: PyTree) -> PyTree:
    """Tell what weights decay: all but what is drawn once and has no gradient."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1] != jax.tree_util.DictKey("frequencies"), tree
    )


def at_once(config: Config, mesh: Mesh | None) -> int:
    """Say how many of its tasks a device does at once."""
    if mesh is None:
        return 1
    each, asked = config.tasks.batch_size // mesh.size, config.tasks.vmap
    if asked and each % asked:
        raise BadInput(f"--tasks.vmap {asked}: does not divide the {each} tasks of a device")
    return asked or side_by_side(config.tasks.batch_size, mesh)


def build_algorithm(
    config: Config,
    network: PyTree = None,
    *,
    testing: bool = False,
    target: Examples | None = None,
) -> Algorithm:
    """Make the algorithm."""
    inner = config.inner

    def begun(model: Model) -> Model:
        return begin_with(model, network) if network else model

    if config.algorithm == "prototypes":  # which walks nowhere
        features = begun(build_model(config, inner.features, prior=0.0))
        return algorithms.prototypes(features, build_loss(config), scale=inner.scale)
    if config.algorithm == "sam":
        return build_sam(config, network)
    if config.algorithm == "ssm-sam":
        return build_ssm_sam(config, MEMORY[inner.memory])
    model, loss = model_and_loss(config, testing=testing)
    model, rule = begun(model), inner_rule(inner)
    if config.algorithm == "metamedseg":
        return build_metamedseg(config, model, loss, target)
    walk = dict(steps=inner.steps, test_steps=inner.test_steps)
    learned = walk | dict(rate=inner.rate, inner=rule(1.0), decay=inner.decay)
    learned |= dict(trainable=inner.trainable or (), memory=MEMORY[inner.memory or "remat"])
    tune = dict(optimizer=rule(inner.rate), steps=inner.test_steps)
    match config.algorithm:
        case "maml":
            return algorithms.maml(model, loss, **learned, order=2)
        case "fomaml":
            return algorithms.maml(model, loss, **learned, order=1)
        case "anil":
            return algorithms.maml(model, loss, **learned, order=inner.order)
        case "meta-sgd":
            return algorithms.maml(model, loss, **learned, order=inner.order, learn_rate=True)
        case "maml++":
            anneal = round(inner.anneal * config.steps)
            how = learned | dict(order=inner.order, anneal=anneal)
            return algorithms.maml_plus_plus(model, loss, **how)
        case "reptile":
            return algorithms.reptile(model, loss, **walk, inner=rule(inner.rate))
        case "imaml":
            solve = SOLVERS[inner.solver](inner.cg_steps)
            how = walk | dict(strength=inner.proximal_weight, solve=solve)
            return algorithms.imaml(model, loss, **how, inner=rule(inner.rate))
        case "transfer":
            heads = begun(build_model(config, len(config.structures)))
            return algorithms.transfer(model, heads, loss, build_loss(config), **tune)
        case "scratch":
            return algorithms.scratch(model, loss, **tune)


def build_metamedseg(
    config: Config, model: Model, loss: Callable, target: Examples | None
) -> Algorithm:
    """Make MetaMedSeg, whose fine-tuning has an optimizer of its own.

    Where nobody trains, target slices of the same shape stand in for the run's own.
    """
    inner, how = config.inner, config.task_weights
    rule = inner_rule(inner, differentiated=False)
    if how.rule == "target" and target is None:
        plane = (TARGET_SLICES, config.tasks.size, config.tasks.size)
        target = Examples(
            np.zeros((*plane, 1), np.float32), np.zeros(plane, np.uint8), np.zeros(plane[0], bool)
        )

    def decayed(rate: float, decay: float) -> optax.GradientTransformation:
        return optax.chain(optax.add_decayed_weights(decay), rule(rate))

    task_weights = None
    if how.rule != "uniform" or how.compounding:
        task_weights = weighting(RULES[how.rule], invert=how.invert)
        task_weights = compounding(task_weights) if how.compounding else task_weights
    return algorithms.metamedseg(
        model,
        loss,
        epochs=inner.steps,
        inner=decayed(inner.rate, inner.weight_decay),
        decay=inner.decay,
        every=inner.every,
        tuning=decayed(inner.test_rate, inner.test_weight_decay),
        tuning_epochs=inner.test_steps,
        tuning_decay=inner.test_decay,
        task_weights=task_weights,
        target=target,
    )


def inner_rule(
    inner: Inner, *, differentiated: bool = True
) -> Callable[[float], optax.GradientTransformation]:
    """Make rate -> the inner optimizer; Adam as usual where nobody differentiates it."""
    plain = inner.optimizer == "adam" and not differentiated
    rule = optax.adam if plain else OPTIMIZERS[inner.optimizer]
    if not inner.clip:
        return rule
    return lambda rate: optax.chain(clip_norm(inner.clip), rule(rate))


def build_model(config: Config, classes: int, prior: float | None = None) -> Model:
    """Make the network; its outputs begin at the configuration's prior, or at this one."""
    n = config.network
    if n.kind == "own":
        return own_network(n.function, classes, config.tasks.size)
    if n.kind == "instance-unet":
        return instance_unet(n.widths, classes=classes)
    prior = n.prior if prior is None else prior
    return unet(n.widths, classes=classes, groups=n.groups, prior=prior)


def build_loss(config: Config) -> Callable[[Model], Callable]:
    """Make the loss of a model."""
    how = config.loss
    if how.of_slice:
        return partial(slice_loss, of=LOSSES[how.of_slice])
    return partial(segmentation_loss, cross_entropy_weight=how.cross_entropy, dice_weight=how.dice)
