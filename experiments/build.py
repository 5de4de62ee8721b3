"""How a configuration becomes a learner: the one place where strings become functions."""

import dataclasses
from collections.abc import Callable
from functools import partial

import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from experiments.configs import Config, Inner
from jaxmeta import algorithms
from jaxmeta.algorithms import Algorithm
from jaxmeta.augment import augment, upright, varied
from jaxmeta.devices import side_by_side
from jaxmeta.errors import BadInput
from jaxmeta.learner import Learner, episodic
from jaxmeta.linear import conjugate_gradient, neumann
from jaxmeta.losses import segmentation_loss
from jaxmeta.memory import MIXED, PLAIN, REMAT
from jaxmeta.models import Model, begin_with, unet
from jaxmeta.over_tasks import over_tasks
from jaxmeta.tasks.episodes import EpisodeShape
from jaxmeta.updates import clip_norm

OPTIMISERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    # eps_root keeps the derivative of Adam finite where a gradient is 0
    "adam": partial(optax.adam, eps_root=1e-8),
}
MEMORY = {"plain": PLAIN, "remat": REMAT, "mixed": MIXED}
SOLVERS = {"cg": conjugate_gradient, "neumann": neumann}


def episode_shape(config: Config) -> EpisodeShape:
    """Take the shape of a task out of a configuration."""
    t = config.tasks
    return EpisodeShape(t.shots, t.queries, t.size, t.spacing, t.support_patients, t.empty)


def model_and_loss(config: Config, *, testing: bool = False) -> tuple[Model, Callable]:
    """Make the network with one output, and its loss in training or at test time."""
    model = build_model(config, 1)
    loss = build_loss(config)(model)
    if testing and config.inner.vary:
        loss = varied(loss, upright(config.augment, config.inner.vary))
    return model, loss


def build(
    config: Config,
    *,
    mesh: Mesh | None = None,
    testing: bool = False,
    test_steps: int | None = None,
    network: PyTree = None,
) -> Learner:
    """Make the learner that trains, or when `testing` predicts.

    `test_steps` stands in for those of the configuration; `network` are variables to begin with.
    """
    if test_steps is not None:
        inner = dataclasses.replace(config.inner, test_steps=test_steps)
        config = dataclasses.replace(config, inner=inner)
    outer = config.outer
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, outer.rate, max(1, int(outer.warmup * config.steps)), max(2, config.steps)
    )
    optimiser = optax.chain(
        optax.clip_by_global_norm(outer.clip),
        optax.adamw(schedule, weight_decay=outer.weight_decay),
    )
    return episodic(
        build_algorithm(config, network, testing=testing),
        optimiser,
        partial(over_tasks, mesh=mesh, chunk=chunk_of(config, mesh)),
        augment=lambda task: augment(task, config.augment),
    )


def chunk_of(config: Config, mesh: Mesh | None) -> int:
    """Say how many of its tasks a device does at once."""
    if mesh is None:
        return 1
    each, asked = config.tasks.count // mesh.size, config.tasks.chunk
    if asked and each % asked:
        raise BadInput(f"--tasks.chunk {asked}: does not divide the {each} tasks of a device")
    return asked or side_by_side(config.tasks.count, mesh)


def build_algorithm(config: Config, network: PyTree = None, *, testing: bool = False) -> Algorithm:
    """Make the algorithm."""
    inner = config.inner

    def begun(model: Model) -> Model:
        return begin_with(model, network) if network else model

    if config.algorithm == "prototypes":  # which walks nowhere
        features = begun(build_model(config, inner.features, prior=0.0))
        return algorithms.prototypes(features, build_loss(config), scale=inner.scale)
    model, loss = model_and_loss(config, testing=testing)
    model, rule = begun(model), inner_rule(inner)
    walk = dict(steps=inner.steps, test_steps=inner.test_steps)
    learned = walk | dict(rate=inner.rate, inner=rule(1.0), decay=inner.decay)
    learned |= dict(names=inner.part or (), memory=MEMORY[inner.memory or "remat"])
    tune = dict(optimiser=rule(inner.rate), steps=inner.test_steps)
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
            solve = SOLVERS[inner.solver](inner.products)
            how = walk | dict(strength=inner.strength, solve=solve)
            return algorithms.imaml(model, loss, **how, inner=rule(inner.rate))
        case "transfer":
            heads = begun(build_model(config, len(config.structures)))
            return algorithms.transfer(model, heads, loss, build_loss(config), **tune)
        case "scratch":
            return algorithms.scratch(model, loss, **tune)


def inner_rule(inner: Inner) -> Callable[[float], optax.GradientTransformation]:
    """Make rate -> the inner optimiser."""
    rule = OPTIMISERS[inner.optimiser]
    if not inner.clip:
        return rule
    return lambda rate: optax.chain(clip_norm(inner.clip), rule(rate))


def build_model(config: Config, classes: int, prior: float | None = None) -> Model:
    """Make the network; its outputs begin at the configuration's prior, or at this one."""
    n = config.network
    prior = n.prior if prior is None else prior
    return unet(n.widths, classes=classes, groups=n.groups, prior=prior)


def build_loss(config: Config) -> Callable[[Model], Callable]:
    """Make the loss of a model."""
    weights = config.loss
    return partial(
        segmentation_loss, cross_entropy_weight=weights.cross_entropy, dice_weight=weights.dice
    )
