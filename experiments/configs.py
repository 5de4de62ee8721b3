"""What a run is: typed configurations, presets, and where each algorithm begins."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxmeta.augment import Augmentation
from jaxmeta.dashboards import package
from jaxmeta.errors import BadInput


TASKS = 4  # in a step, where the devices do not ask for more


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
    count: int | None = None
    """Tasks in a step; by default 4, or as many more as give each GPU or TPU chip the same."""
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


Algorithm = Literal[
    "maml",
    "fomaml",
    "anil",
    "meta-sgd",
    "maml++",
    "reptile",
    "imaml",
    "prototypes",
    "transfer",
    "scratch",
]


@dataclasses.dataclass(frozen=True)
class Inner:
    """Adaptation to a structure; None stands where the algorithm has no such thing."""

    steps: int | None = None
    """Inner steps in training."""
    test_steps: int | None = None
    """Inner steps at test time, chosen on validation organs."""
    rate: float | None = None
    """Inner rate, or where learned rates start."""
    optimiser: Literal["sgd", "momentum", "adam"] | None = None
    """Rule of the inner update."""
    clip: float | None = None
    """Largest norm of an inner gradient; longer ones are scaled down. 0: never."""
    decay: float | None = None
    """Factor from step to step on the rate of test steps beyond `steps`."""
    order: Literal[1, 2] | None = None
    """1 holds inner updates fixed when differentiating, 2 differentiates through them."""
    memory: Literal["plain", "remat", "mixed"] | None = None
    """Second order keeps the convolutions of every step (plain), or of none: it recomputes steps
    (remat), or goes back by Hessian-vector products (mixed)."""
    part: tuple[str, ...] | None = None
    """What the inner loop moves, as head or up_0/conv_1; without a name, every parameter."""
    anneal: float | None = None
    """Share of the training over which the loss after every inner step gives way to that after the
    last (maml++)."""
    strength: float | None = None
    """How strongly a solution is held near where it began: lambda (imaml)."""
    solver: Literal["cg", "neumann"] | None = None
    """Conjugate gradients or a Neumann series solve for the direction (imaml)."""
    products: int | None = None
    """Hessian-vector products that the solver may take (imaml)."""
    features: int | None = None
    """Channels that describe a pixel (prototypes)."""
    scale: float | None = None
    """Factor from cosines to logits (prototypes)."""
    vary: float | None = None
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


WALK = Inner(steps=4, test_steps=10, rate=0.15, optimiser="sgd", clip=1.0, vary=0.0)
LEARNED = dataclasses.replace(WALK, decay=0.8, part=())
TUNED = Inner(test_steps=100, rate=3e-3, optimiser="adam", clip=1.0, vary=0.0)

# Where each algorithm begins: the options it has, and what was best for it on validation organs.
INNER: dict[str, Inner] = {
    "maml": dataclasses.replace(LEARNED, memory="remat"),
    "fomaml": LEARNED,
    "anil": dataclasses.replace(LEARNED, order=1, memory="remat", part=("up_0", "head")),
    "meta-sgd": dataclasses.replace(LEARNED, order=1, memory="remat"),
    "maml++": dataclasses.replace(LEARNED, order=1, memory="remat", anneal=0.3),
    "reptile": WALK,
    "imaml": dataclasses.replace(WALK, steps=8, strength=0.3, solver="cg", products=3),
    "prototypes": Inner(features=16, scale=20.0),
    "transfer": TUNED,
    "scratch": dataclasses.replace(TUNED, optimiser="sgd", rate=1.0, clip=0.0),
}


@dataclasses.dataclass(frozen=True)
class Config:
    """Everything that repeats a run; the resolved form stands in its `config.json`."""

    algorithm: Algorithm = "meta-sgd"
    """How the network is adapted and learns to be; its own settings of `inner` come with it."""
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
    track: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where the metrics go beside `metrics.jsonl`: files in the run's folder for TensorBoard, Weights &
    Biases, or both; each needs the optional extra of its name."""
    tasks: Tasks = Tasks()
    network: Network = Network()
    inner: Inner = INNER["meta-sgd"]
    outer: Outer = Outer()
    loss: Loss = Loss()
    augment: Augmentation = Augmentation(invert=0.5)
    distributed: bool = False
    """This is one of several processes, started by Slurm, Open MPI or on a TPU pod, that train one
    run on all their devices."""
    structures: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """What training draws, as data set/organ: filled in by the run."""
    axis: Annotated[str, tyro.conf.Suppress] = "axial"
    """Which slices the run learns from: filled in by the run."""


def with_algorithm(config: Config, algorithm: Algorithm) -> Config:
    """Take another algorithm, and begin with its own settings."""
    own = {"transfer": {"outer": Outer(rate=6e-3)}, "scratch": {"steps": 0}}  # see RESULTS.md
    return dataclasses.replace(
        config, algorithm=algorithm, inner=INNER[algorithm], **own.get(algorithm, {})
    )


PRESETS: dict[str, tuple[str, Config]] = {
    "unet-maml": ("U-Net, first-order MAML with learned rates: the default.", Config()),
    "transfer": (
        "U-Net pre-trained with one output a source organ, fine-tuned on the support.",
        with_algorithm(Config(), "transfer"),
    ),
    "scratch": ("U-Net trained on the support alone.", with_algorithm(Config(), "scratch")),
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
        "--inner.steps": (inner.steps, 1 if config.algorithm == "maml++" else 0),
        "--inner.test-steps": (inner.test_steps, 0),
        "--inner.vary": (inner.vary, 0),
        "--inner.clip": (inner.clip, 0),
        "--inner.products": (inner.products, 1),
        "--inner.features": (inner.features, 1),
        "--augment.elastic-cells": (config.augment.elastic_cells, 1),
        "--network.groups": (network.groups, 1),
        "--network.widths": (min(network.widths, default=0), 1),
    }
    refuse_foreign(config.algorithm, inner)
    for name, (value, limit) in least.items():
        if value is not None and value < limit:
            raise BadInput(f"{name} {value}: must be at least {limit}")
    for width in network.widths:
        if width % min(network.groups, width):
            raise BadInput(
                f"--network.widths {width}: does not split into {network.groups} groups; give a "
                "multiple, or other --network.groups"
            )
    if config.distributed and not config.data:
        raise BadInput("--distributed needs --data: each process would write phantoms of its own")
    for dashboard in config.track:
        package(dashboard)
    if config.begin and config.algorithm == "scratch":
        raise BadInput("--begin with scratch: it begins at random, for every support anew")
    multiple = 2 ** (len(network.widths) - 1)
    if tasks.size is not None and tasks.size % multiple:
        raise BadInput(
            f"--tasks.size {tasks.size}: a network of {len(network.widths)} levels needs a multiple "
            f"of {multiple}"
        )


def refuse_foreign(algorithm: str, inner: Inner) -> None:
    """Refuse an option that the algorithm does not have, and one left out that it needs."""
    for field in dataclasses.fields(Inner):
        value, own = getattr(inner, field.name), getattr(INNER[algorithm], field.name)
        option = f"--inner.{field.name.replace('_', '-')}"
        if value is not None and own is None:
            owners = [a for a, other in INNER.items() if getattr(other, field.name) is not None]
            raise BadInput(f"{option} with {algorithm}: only {', '.join(owners)} can have it")
        if value is None and own is not None:
            raise BadInput(f"{option}: {algorithm} needs a value, for instance {own}")
    if inner.order == 1 and inner.memory != "remat":
        raise BadInput(f"--inner.memory {inner.memory} at --inner.order 1: it keeps no activations")
