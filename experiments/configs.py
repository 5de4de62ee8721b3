"""Presets, and how a configuration becomes a learner: the one place where strings become functions."""

import dataclasses
import json
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import jax
import optax
import tyro
from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxmeta import algorithms, devices
from jaxmeta.algorithms import Algorithm
from jaxmeta.augment import Augmentation, augment, upright, varied
from jaxmeta.errors import BadInput
from jaxmeta.learner import Learner, episodic
from jaxmeta.losses import segmentation_loss
from jaxmeta.models import Model, begin_with, unet
from jaxmeta.over_tasks import over_tasks
from jaxmeta.tasks.episodes import EpisodeShape
from jaxmeta.tasks.split import Split, split_from_json


@dataclasses.dataclass(frozen=True)
class Tasks:
    """What a training step sees."""

    size: int | None = None
    """Rows and columns of a slice after resizing; by default as the shards were prepared for."""
    spacing: float | None = None
    """Millimetres a pixel, by default as the shards were prepared for; 0 stretches each slice to
    the square."""
    shots: int = 3
    """Support slices of a task."""
    queries: int = 3
    """Query slices of a task."""
    support_patients: int = 1
    """Patients that the support slices come from."""
    single_patients: bool = False
    """Learn from organs of one patient too; their query slices are others of the same scans."""
    empty: float = 0.25
    """Share of query slices without the organ, as in a whole volume."""
    count: int = 4
    """Tasks in a step."""
    chunk: int | None = None
    """Tasks that a device does side by side; by default 1 on a CPU, all of its own elsewhere."""


@dataclasses.dataclass(frozen=True)
class Network:
    """The U-Net."""

    widths: tuple[int, ...] = (8, 16, 32, 64)
    """Channels of each level, from full resolution down."""
    groups: int = 8
    """Groups of GroupNorm."""
    prior: float = -2.5
    """Logit of the untrained output: -2.5 says that a structure fills about 8 % of a slice."""


@dataclasses.dataclass(frozen=True)
class Inner:
    """Adaptation to a structure."""

    steps: int = 4
    """Inner steps in training."""
    test_steps: int = 10
    """Inner steps at test time, chosen on validation organs."""
    rate: float = 0.15
    """Inner rate, or where learned rates start."""
    learn_rate: bool = True
    """Learn a rate for every parameter (Meta-SGD, arXiv 1707.09835)."""
    order: Literal[1, 2] = 1
    """1 holds inner updates fixed when differentiating, 2 differentiates through them."""
    optimiser: Literal["sgd", "momentum", "adam"] = "sgd"
    """Rule of the inner update."""
    decay: float = 0.8
    """Factor from step to step on the rate of test steps beyond `steps` (maml)."""
    clip: float | None = 1.0
    """Largest norm of an inner gradient; longer ones are scaled down."""
    vary: float = 0.0
    """At test time each step sees the support changed anew: a factor on the changes of single images
    of `augment`, for every row of the table."""


@dataclasses.dataclass(frozen=True)
class Outer:
    """The optimiser of the meta-parameters: AdamW with warm-up, cosine and clipping."""

    rate: float = 2e-3
    """Highest rate of the schedule."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises."""
    clip: float = 10.0
    """Largest norm of a direction; longer ones are scaled down."""
    weight_decay: float = 0.0
    """Decoupled weight decay."""


@dataclasses.dataclass(frozen=True)
class Loss:
    """Weights of the parts of the loss."""

    cross_entropy: float = 3.0
    """Of the binary cross-entropy, a mean over pixels."""
    dice: float = 1.0
    """Of the soft Dice loss, over all slices of a set together."""


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that repeats a run; the resolved form stands in its `config.json`."""

    method: Literal["maml", "reptile", "transfer", "scratch"] = "maml"
    """The algorithm."""
    data: tuple[Path, ...] = ()
    """Folders of shards; without any, phantoms are made."""
    workdir: Path | None = None
    """The run's folder; without it, one named after the preset and the seed under `runs/`."""
    test_organs: tuple[str, ...] = ()
    """Organs to be tested on: never trained on, and their patients never seen."""
    val_organs: tuple[str, ...] = ()
    """Organs that choose the checkpoint: never trained on."""
    train_organs: tuple[str, ...] = ()
    """Organs to learn from; without any, all that are not held out."""
    test_patients: tuple[str, ...] = ()
    """Patients held out; without any, drawn at random where a data set has test and other organs."""
    begin: Path | None = None
    """A run whose network is where this one begins, but for a head of another size."""
    steps: int = 800
    """Training steps."""
    every: int = 200
    """Steps between checkpoints, each with a validation."""
    seed: int = 0
    """Seed of everything that is drawn: split, weights, tasks."""
    validation_tasks: int = 12
    """Fixed tasks on validation organs that score a checkpoint."""
    tasks: Tasks = Tasks()
    network: Network = Network()
    inner: Inner = Inner()
    outer: Outer = Outer()
    loss: Loss = Loss()
    augment: Augmentation = Augmentation(invert=0.5)
    structures: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """What training draws, as data set/organ: filled in by the run."""
    axis: Annotated[str, tyro.conf.Suppress] = "axial"
    """Which slices the run learns from: filled in by the run."""


PRESETS: dict[str, tuple[str, Config]] = {
    "unet-maml": ("U-Net, MAML with learned rates: the default.", Config()),
    "transfer": (
        "U-Net pre-trained with one output a source organ, fine-tuned on the support.",
        Config(
            method="transfer",
            inner=Inner(optimiser="adam", rate=3e-3, test_steps=100),
            outer=Outer(rate=6e-3),
        ),
    ),
    "scratch": (
        "U-Net trained on the support alone.",
        Config(
            method="scratch",
            steps=0,
            inner=Inner(optimiser="sgd", rate=1.0, test_steps=100, clip=None),
        ),
    ),
}

OPTIMISERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    # eps_root keeps the derivative of Adam finite where a gradient is 0
    "adam": partial(optax.adam, eps_root=1e-8),
}


def check(config: Config) -> None:
    """Refuse in one line what no run can be made of."""
    tasks, network, inner = config.tasks, config.network, config.inner
    least = {
        "--steps": (config.steps, 0),
        "--every": (config.every, 1),
        "--seed": (config.seed, 0),
        "--validation-tasks": (config.validation_tasks, 1),
        "--tasks.count": (tasks.count, 1),
        "--tasks.chunk": (tasks.chunk, 1),
        "--tasks.size": (tasks.size, 1),
        "--tasks.spacing": (tasks.spacing, 0),
        "--inner.steps": (inner.steps, 0),
        "--inner.test-steps": (inner.test_steps, 0),
        "--inner.vary": (inner.vary, 0),
        "--network.groups": (network.groups, 1),
        "--network.widths": (min(network.widths, default=0), 1),
    }
    for name, (value, limit) in least.items():
        if value is not None and value < limit:
            raise BadInput(f"{name} {value}: must be at least {limit}")
    for width in network.widths:
        if width % min(network.groups, width):
            raise BadInput(
                f"--network.widths {width}: does not split into {network.groups} groups; give a "
                "multiple, or other --network.groups"
            )
    if config.begin and config.method == "scratch":
        raise BadInput("--begin with scratch: it begins at random, for every support anew")
    multiple = 2 ** (len(network.widths) - 1)
    if tasks.size is not None and tasks.size % multiple:
        raise BadInput(
            f"--tasks.size {tasks.size}: a network of {len(network.widths)} levels needs a multiple "
            f"of {multiple}"
        )


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
) -> tuple[Model, Learner]:
    """Make the network and the learner that trains, or when `testing` predicts, with it.

    `test_steps` stands in for those of the configuration; `network` are variables to begin with.
    """
    if test_steps is not None:
        inner = dataclasses.replace(config.inner, test_steps=test_steps)
        config = dataclasses.replace(config, inner=inner)
    outer, tasks = config.outer, config.tasks
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, outer.rate, max(1, int(outer.warmup * config.steps)), max(2, config.steps)
    )
    optimiser = optax.chain(
        optax.clip_by_global_norm(outer.clip),
        optax.adamw(schedule, weight_decay=outer.weight_decay),
    )
    on_cpu = mesh is None or mesh.devices.flat[0].platform == "cpu"
    each = tasks.count // (mesh.size if mesh else 1)
    chunk = tasks.chunk or (1 if on_cpu else each)
    if each % chunk:
        raise BadInput(f"--tasks.chunk {chunk}: does not divide the {each} tasks of a device")
    learner = episodic(
        build_algorithm(config, network, testing=testing),
        optimiser,
        partial(over_tasks, mesh=mesh, chunk=chunk),
        augment=lambda task: augment(task, config.augment),
    )
    return build_model(config, 1), learner


def build_algorithm(config: Config, network: PyTree = None, *, testing: bool = False) -> Algorithm:
    """Make the algorithm."""
    inner, (model, loss) = config.inner, model_and_loss(config, testing=testing)
    model = begin_with(model, network) if network else model
    rule = inner_rule(inner)
    tune = dict(optimiser=rule(inner.rate), steps=inner.test_steps)
    match config.method:
        case "maml":
            return algorithms.maml(
                model,
                loss,
                steps=inner.steps,
                rate=inner.rate,
                learn_rate=inner.learn_rate,
                order=inner.order,
                inner=rule(1.0),
                test_steps=inner.test_steps,
                decay=inner.decay,
            )
        case "reptile":
            walk = dict(inner=rule(inner.rate), steps=inner.steps, test_steps=inner.test_steps)
            return algorithms.reptile(model, loss, **walk)
        case "transfer":
            heads = build_model(config, len(config.structures))
            heads = begin_with(heads, network) if network else heads
            return algorithms.transfer(model, heads, loss, build_loss(config), **tune)
        case "scratch":
            return algorithms.scratch(model, loss, **tune)


def inner_rule(inner: Inner) -> Callable[[float], optax.GradientTransformation]:
    """Make rate -> the inner optimiser."""
    rule = OPTIMISERS[inner.optimiser]
    if inner.clip is None:
        return rule
    return lambda rate: optax.chain(optax.clip_by_global_norm(inner.clip), rule(rate))


def build_model(config: Config, classes: int) -> Model:
    """Make the network."""
    n = config.network
    return unet(n.widths, classes=classes, groups=n.groups, prior=n.prior)


def build_loss(config: Config) -> Callable[[Model], Callable]:
    """Make the loss of a model."""
    weights = config.loss
    return partial(
        segmentation_loss, cross_entropy_weight=weights.cross_entropy, dice_weight=weights.dice
    )


def from_json(kind: Any, values: Any) -> Any:
    """Read a value of a type back from JSON; raises BadInput for what the type does not have."""
    if dataclasses.is_dataclass(kind):
        if not isinstance(values, dict):
            raise BadInput(f"{values!r} in a configuration: should be names and values")
        hints = get_type_hints(kind)
        if unknown := sorted(set(values) - set(hints)):
            raise BadInput(f"unknown configuration {unknown[0]!r}: known are {', '.join(hints)}")
        return kind(**{name: from_json(hints[name], value) for name, value in values.items()})
    if get_origin(kind) is tuple:
        if not isinstance(values, (list, tuple)):
            raise BadInput(f"{values!r} in a configuration: should be a list")
        return tuple(from_json(get_args(kind)[0], value) for value in values)
    if get_origin(kind) is types.UnionType:
        return None if values is None else from_json(get_args(kind)[0], values)
    if get_origin(kind) is Literal:
        if values not in get_args(kind):
            raise BadInput(
                f"{values!r} in a configuration: known are {', '.join(map(str, get_args(kind)))}"
            )
        return values
    wanted = {Path: str, float: (int, float)}.get(kind, kind)
    if not isinstance(values, wanted) or (isinstance(values, bool) and kind is not bool):
        raise BadInput(f"{values!r} in a configuration: should be {kind.__name__}")
    return Path(values) if kind is Path else values


def read_config(path: Path) -> Config:
    """Read a configuration file: that of a run, or one's own with some of its fields."""
    values = read_json(path)
    return from_json(Config, values.get("config", values))


def read(folder: Path) -> tuple[Config, Split]:
    """Read what a run is: its configuration and who may see what."""
    path = folder / "config.json"
    if not path.exists():
        raise BadInput(f"{folder} is not a run: it has no config.json")
    values = read_json(path)
    config = dataclasses.replace(from_json(Config, values["config"]), workdir=folder)
    return config, split_from_json(values["split"])


def read_json(path: Path) -> dict:
    """Read a JSON object."""
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise BadInput(f"{path}: not a readable configuration ({error})") from None


def begin(cache: Path = Path("runs") / ".compiled") -> None:
    """Ready this process: a device per core, and compiled programs kept for the next run."""
    devices.split_processor()
    jax.config.update("jax_compilation_cache_dir", str(cache.resolve()))
