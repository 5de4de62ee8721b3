"""What a run is: typed configurations, and where each algorithm begins."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxmeta.augment import Augmentation


TASKS = 4  # in a step, where the devices do not ask for more


@dataclasses.dataclass(frozen=True)
class Tasks:
    """What a training step sees."""

    draw: Literal["episodes", "volumes", "pooled", "supervoxels"] = "episodes"
    """episodes: support and query of different patients; supervoxels: without labels, a piece of one
    scan and the same or the next slices of it, changed in another way (prepare_data --supervoxels);
    volumes: the slices of one scan, every k-th
    where there are more than `shots`; pooled: `shots` slices of any patients. The last two learn from the
    support alone and watch the query."""
    least_pixels: int = 1
    """Pixels at native resolution that a structure must have in a slice to be trained on there."""
    decathlon: bool = False
    """Learn from the 24 sub-tasks that MetaMedSeg makes of the Medical Segmentation Decathlon, with
    their thresholds and weights; otherwise every data set counts alike."""
    as_pictures: bool = False
    """Slices as 8-bit pictures, each from its own least to its own largest value, as the code released
    with MetaMedSeg has them; for comparison only."""
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
    """The U-Net; None stands where a kind has no such thing."""

    kind: Literal["unet", "instance-unet"] = "unet"
    """unet: GroupNorm, nearest upsampling; instance-unet: that of MetaMedSeg."""
    widths: tuple[int, ...] = (8, 16, 32, 64)
    """Channels of each level, from full resolution down."""
    groups: int | None = 8
    """Groups of GroupNorm (unet)."""
    prior: float | None = -2.5
    """Logit of the untrained output: -2.5 says that a structure fills about 8 % of a slice
    (unet)."""


Algorithm = Literal[
    "maml",
    "fomaml",
    "anil",
    "meta-sgd",
    "maml++",
    "reptile",
    "metamedseg",
    "imaml",
    "prototypes",
    "transfer",
    "scratch",
]


@dataclasses.dataclass(frozen=True)
class Inner:
    """Adaptation to a structure; None stands where the algorithm has no such thing."""

    steps: int | None = None
    """Inner steps in training; metamedseg: epochs, with a step a slice."""
    test_steps: int | None = None
    """Inner steps at test time, chosen on validation organs; metamedseg: epochs."""
    rate: float | None = None
    """Inner rate, or where learned rates start."""
    test_rate: float | None = None
    """Rate at test time (metamedseg)."""
    optimiser: Literal["sgd", "momentum", "adam"] | None = None
    """Rule of the inner update."""
    clip: float | None = None
    """Largest norm of an inner gradient; longer ones are scaled down. 0: never."""
    decay: float | None = None
    """Factor from step to step on the rate of test steps beyond `steps`; metamedseg: on the rate in
    training, after every `every` epochs."""
    test_decay: float | None = None
    """The same factor at test time (metamedseg)."""
    every: int | None = None
    """Epochs between two falls of the rate (metamedseg)."""
    weight_decay: float | None = None
    """L2 decay that goes through the optimiser, in training (metamedseg)."""
    test_weight_decay: float | None = None
    """The same at test time (metamedseg)."""
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
    """The optimiser of the meta-parameters."""

    optimiser: Literal["adamw", "sgd"] = "adamw"
    """sgd goes `rate` times the way that Reptile and MetaMedSeg point out."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the rate goes on after the warm-up."""
    rate: float = 2e-3
    """Highest rate of the schedule."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises."""
    clip: float = 10.0
    """Largest norm of a direction; longer ones are scaled down. 0: never."""
    weight_decay: float = 0.0
    """Decoupled weight decay (adamw)."""


@dataclasses.dataclass(frozen=True)
class Weighting:
    """How much each task of a step counts (metamedseg)."""

    rule: Literal["uniform", "mean", "meta", "loss", "loss-difference", "target"] = "uniform"
    """uniform: all alike; mean, meta: by the distance from where all tasks ended on average, or from
    where they began; loss: by how little the held-out loss differs from the last training loss;
    loss-difference: by the largest fall of the training loss in an epoch; target: by the IoU on ten
    labelled slices of the organs under test, which is a leak."""
    invert: bool = False
    """Turn the rule around: 1 - W, normalised."""
    compounding: bool = False
    """As the code released with the paper, which multiplies earlier tasks by all later weights too;
    for comparison only."""


@dataclasses.dataclass(frozen=True)
class Loss:
    """The loss: of a set of slices, in two parts, or of each slice alone."""

    cross_entropy: float | None = 3.0
    """Weight of the binary cross-entropy, a mean over pixels."""
    dice: float | None = 1.0
    """Weight of the soft Dice loss, over all slices of a set together."""
    of_slice: Literal["iou", "bce", "bce_weighted", "combined", "combined2", "tversky"] | None = (
        None
    )
    """A loss of MetaMedSeg instead; both weights are None then."""


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
    "metamedseg": Inner(
        steps=20,
        test_steps=20,
        rate=0.01,
        test_rate=0.005,
        optimiser="adam",
        clip=0.0,
        decay=0.8,
        test_decay=0.7,
        every=2,
        weight_decay=0.003,
        test_weight_decay=3e-5,
        vary=0.0,
    ),
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
    protocol: Literal["alpnet", "alpnet-legacy"] | None = None
    """A protocol of the literature that says which patients train, lend and are tested; the run is
    tested by it too. alpnet: 5 folds, one slice for each of three chunks; alpnet-legacy: as papers after
    it, whose setting 2 drops only slices that show all organs."""
    fold: int | None = None
    """Which fold of the protocol, from 0."""
    setting: Literal[1, 2] | None = None
    """1: slices of the protocol's training patients that show test organs are trained on, without their
    labels; 2: they are not."""
    allow_leak: tuple[Literal["target-labels", "shared-patients"], ...] = ()
    """What a test must not share and this run's does, named with every score: target-labels lets
    --weigh.rule target see labels of the organs under test; shared-patients tests on slices of the
    patients who lend the support, as the code released with MetaMedSeg does."""
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
    weigh: Weighting = Weighting()
    loss: Loss = Loss()
    augment: Augmentation = Augmentation(invert=0.5)
    distributed: bool = False
    """This is one of several processes, started by Slurm, Open MPI or on a TPU pod, that train one
    run on all their devices."""
    structures: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """What training draws, as data set/organ: filled in by the run."""
    axis: Annotated[str, tyro.conf.Suppress] = "axial"
    """Which slices the run learns from: filled in by the run."""
