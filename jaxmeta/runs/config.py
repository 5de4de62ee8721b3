"""What a run is: typed configurations, and where each algorithm begins."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxmeta.augmentation.augment import Augmentation

TrainingLeak = Literal["target-labels", "shared-patients", "organs", "patients", "contents"]
AnyLeak = Literal[TrainingLeak, "settings", "data"]

TASKS = 4  # in a step, where the devices do not ask for more


@dataclasses.dataclass(frozen=True)
class Tasks:
    """What a training step sees."""

    kind: Literal["episodes", "volumes", "pooled", "supervoxels", "chunks"] = "episodes"
    """episodes: support and query of different patients; supervoxels: without labels, a piece of
    one scan and the same or the next slices of it, changed in another way (prepare_data
    --supervoxels); volumes: the slices of one scan, every k-th where there are more than `shots`;
    pooled: `shots` slices of any patients. These two learn from the support alone and watch the
    query. chunks: of `width` neighboring slices, of which the middle one gives its mask to the
    others."""
    width: int | None = None
    """Slices of a chunk: 5 where they lie close together, as in CT, 3 where they do not
    (chunks)."""
    stride: int | None = None
    """Slices from the beginning of one chunk to that of the next (chunks)."""
    across: bool = False
    """Chunks that run on from one scan into the next, as the code released with SSM-SAM deals them;
    for comparison only."""
    least_pixels: int = 1
    """Pixels at native resolution that a structure must have in a slice to be trained on there."""
    decathlon: bool = False
    """Learn from the 24 sub-tasks that MetaMedSeg makes of the Medical Segmentation Decathlon, with
    their thresholds and weights; otherwise every data set counts alike."""
    as_uint8: bool = False
    """Slices as 8-bit pictures, each from its own least to its own largest value, as the code
    released with MetaMedSeg has them; for comparison only."""
    size: int | None = None
    """Rows and columns of a slice after resizing; by default as the shards were prepared for."""
    spacing: float | None = None
    """Millimetres a pixel, by default as the shards were prepared for; 0 stretches each slice to
    the square."""
    shots: int = 3
    """Support slices of a task, or chunks to adapt to."""
    queries: int = 3
    """Query slices of a task, or chunks to prove it on."""
    support_patients: int = 1
    """Patients that the support slices come from."""
    single_patients: bool = False
    """Learn from organs of one patient too; their query slices are others of the same scans."""
    negative_fraction: float = 0.25
    """Share of query slices without the organ, as in a whole volume."""
    batch_size: int | None = None
    """Tasks in a step; by default 4, or as many more as give each GPU or TPU chip the same."""
    vmap: int | None = None
    """Tasks that a device does side by side; by default 1 on a CPU, all of its own elsewhere."""


@dataclasses.dataclass(frozen=True)
class Network:
    """The network; None stands where a kind has no such thing."""

    kind: Literal["unet", "instance-unet", "own", "sam-tiny", "sam"] = "unet"
    """unet: GroupNorm, nearest upsampling; instance-unet: that of MetaMedSeg; own: what `function`
    makes; sam-tiny: Segment Anything at 4 million parameters, for slices of 256 pixels; sam: of the
    size of the weights that the run begins with."""
    function: str | None = None
    """A network of your own, as MODULE:FUNCTION, for instance my_package.nets:tiny: called with the
    number of outputs it returns a jaxmeta.models.Model. Imported from the working directory, at
    every use of the run."""
    widths: tuple[int, ...] | None = (8, 16, 32, 64)
    """Channels of each level, from full resolution down (unet, instance-unet)."""
    groups: int | None = 8
    """Groups of GroupNorm (unet)."""
    prior: float | None = -2.5
    """Logit of the untrained output: -2.5 says that a structure fills about 8 % of a slice
    (unet)."""
    adapter: Literal["high-pass", "low-rank", "bottleneck"] | None = None
    """What is trained inside the frozen image encoder: prompts of high frequencies and patches
    before every block, as SSM-SAM has them; low-rank changes of queries and values; narrow
    perceptrons in every block (ssm-sam)."""
    adapter_width: int | None = None
    """Channels inside an adapter; by default 24, rank 4, a quarter of the tokens' (ssm-sam)."""
    last_blocks: int | None = None
    """Adapt only so many blocks, the last ones; by default all (ssm-sam). What lies before them is
    computed once a slice."""


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
    "sam",
    "ssm-sam",
    "transfer",
    "scratch",
]


@dataclasses.dataclass(frozen=True)
class Inner:
    """Adaptation to a structure; None stands where the algorithm has no such thing."""

    steps: int | None = None
    """Inner steps in training; metamedseg: epochs, with a step a slice; ssm-sam: passes over all
    chunks, and 0 trains the same network jointly, without meta-learning."""
    test_steps: int | None = None
    """Inner steps at test time, chosen on validation organs; metamedseg: epochs."""
    rate: float | None = None
    """Inner rate, or where learned rates start."""
    test_rate: float | None = None
    """Rate at test time (metamedseg, ssm-sam)."""
    optimizer: Literal["sgd", "momentum", "adam"] | None = None
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
    """L2 decay that goes through the optimizer, in training (metamedseg)."""
    test_weight_decay: float | None = None
    """The same at test time (metamedseg); decoupled (ssm-sam)."""
    learn_rate: bool | None = None
    """Learn a rate for every parameter, from `rate` on (ssm-sam)."""
    order: Literal[1, 2] | None = None
    """1 holds inner updates fixed when differentiating, 2 differentiates through them."""
    memory: Literal["plain", "remat", "mixed"] | None = None
    """Second order keeps the convolutions of every step (plain), or of none: it recomputes steps
    (remat), or goes back by Hessian-vector products (mixed)."""
    trainable: tuple[str, ...] | None = None
    """What the inner loop moves, as head or up_0/conv_1; without a name, every parameter."""
    anneal: float | None = None
    """Share of the training over which the loss after every inner step gives way to that after the
    last (maml++)."""
    proximal_weight: float | None = None
    """How strongly a solution is held near where it began: lambda (imaml)."""
    solver: Literal["cg", "neumann"] | None = None
    """Conjugate gradients or a Neumann series, damped by the curvature that it meets, solve for the
    meta-gradient (imaml)."""
    cg_steps: int | None = None
    """Hessian-vector products that the solver may take (imaml)."""
    features: int | None = None
    """Channels that describe a pixel (prototypes)."""
    scale: float | None = None
    """Factor from cosines to logits (prototypes)."""
    augment: float | None = None
    """At test time each step sees the support changed anew: a factor on the changes of single
    images of `augment`, for every row of the table."""


@dataclasses.dataclass(frozen=True)
class Outer:
    """The optimizer of the meta-parameters."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """sgd goes `rate` times the way that Reptile and MetaMedSeg point out."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """How the rate goes on after the warm-up."""
    rate: float = 2e-3
    """Highest rate of the schedule."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises."""
    clip: float = 10.0
    """Largest norm of a meta-gradient; longer ones are scaled down. 0: never."""
    weight_decay: float = 0.0
    """Decoupled weight decay (adamw)."""


@dataclasses.dataclass(frozen=True)
class TaskWeights:
    """How much each task of a step counts (metamedseg)."""

    rule: Literal["uniform", "mean", "meta", "loss", "loss-difference", "target"] = "uniform"
    """uniform: all alike; mean, meta: by the distance from where all tasks ended on average, or
    from where they began; loss: by how little the held-out loss differs from the last training
    loss; loss-difference: by the largest fall of the training loss in an epoch; target: by the IoU
    on ten labelled slices of the organs under test, which is a leak."""
    invert: bool = False
    """Turn the rule around: 1 - W, normalized."""
    compounding: bool = False
    """As the code released with the paper, which multiplies earlier tasks by all later weights too;
    for comparison only."""


@dataclasses.dataclass(frozen=True)
class Prompted:
    """SSM-SAM: what it is told with new slices, and what the released code does otherwise."""

    prompt: Literal["support", "clicks", "none"] = "support"
    """Points on new slices lie on the support's mask, or on their own truth (clicks, which every
    score is named after), or there are none."""
    attends: bool = True
    """The decoder looks at the query under the support's mask; released: not."""
    dropout: float = 0.2
    """Share of the decoder's features that training and adaptation leave out."""
    period: int | None = None
    """Steps after which the online rate has fallen to nothing; by default the last; released: 20 of
    30 or 40, so that it rises again."""
    mixed_tokens: bool = False
    """Read the patch embedding in the wrong order for the prompts; released: yes."""
    transposed_points: bool = False
    """Read points as (y, x); released: yes."""
    raw_colors: bool = False
    """Show slices from 0 to 1, without ImageNet's mean and spread; released: yes, beside
    --tasks.as-uint8."""
    copies: int = 1
    """Learned queries of the sampler, one for each slice of a batch; released: the batch's size."""


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
    """A loss of MetaMedSeg instead; both weights are None then. None of all three: the algorithm
    has its own (sam, ssm-sam)."""


WALK = Inner(steps=4, test_steps=10, rate=0.15, optimizer="sgd", clip=1.0, augment=0.0)
LEARNED = dataclasses.replace(WALK, decay=0.8, trainable=())
TUNED = Inner(test_steps=100, rate=3e-3, optimizer="adam", clip=1.0, augment=0.0)

# Where each algorithm begins: the options it has, and what was best for it on validation organs.
INNER: dict[str, Inner] = {
    "maml": dataclasses.replace(LEARNED, memory="remat"),
    "fomaml": LEARNED,
    "anil": dataclasses.replace(LEARNED, order=1, memory="remat", trainable=("up_0", "head")),
    "meta-sgd": dataclasses.replace(LEARNED, order=1, memory="remat"),
    "maml++": dataclasses.replace(LEARNED, order=1, memory="remat", anneal=0.3),
    "reptile": WALK,
    "metamedseg": Inner(
        steps=20,
        test_steps=20,
        rate=0.01,
        test_rate=0.005,
        optimizer="adam",
        clip=0.0,
        decay=0.8,
        test_decay=0.7,
        every=2,
        weight_decay=0.003,
        test_weight_decay=3e-5,
        augment=0.0,
    ),
    "imaml": dataclasses.replace(WALK, steps=8, proximal_weight=0.3, solver="cg", cg_steps=3),
    "prototypes": Inner(features=16, scale=20.0),
    "sam": Inner(),
    "ssm-sam": Inner(
        steps=3,
        test_steps=30,
        rate=1e-4,
        test_rate=2e-4,
        test_weight_decay=0.01,
        order=1,
        memory="remat",
        learn_rate=False,
    ),
    "transfer": TUNED,
    "scratch": dataclasses.replace(TUNED, optimizer="sgd", rate=1.0, clip=0.0),
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
    """Patients held out; without any, drawn at random where a data set has test and other
    organs."""
    protocol: Literal["alpnet", "alpnet-legacy"] | None = None
    """A protocol of the literature that says which patients train, give and are tested; the run is
    tested by it too. alpnet: 5 folds, one slice for each of three chunks; alpnet-legacy: as papers
    after it, whose setting 2 drops only slices that show all organs."""
    fold: int | None = None
    """Which fold of the protocol, from 0."""
    setting: Literal[1, 2] | None = None
    """1: slices of the protocol's training patients that show test organs are trained on, without
    their labels; 2: they are not."""
    allow_leak: tuple[TrainingLeak, ...] = ()
    """What a test must not share and this run's does, named with every score: target-labels lets
    --task-weights.rule target see labels of the organs under test; shared-patients tests on slices
    of the support patients, as the code released with MetaMedSeg does; organs,
    patients and contents (the same voxels under another name) let what is held out be trained on,
    by this run or what it begins with."""
    init_from: Path | None = None
    """A run whose network is where this one begins, but for a head of another size; of sam and
    ssm-sam, a run of sam or a folder of converted weights."""
    feature_cache: Path | None = None
    """A folder that keeps of every slice what no adapter changes, so that it is computed once
    (ssm-sam); it needs slices that are not augmented. With adapters in every block that is little:
    see --network.last-blocks."""
    steps: int = 800
    """Training steps."""
    checkpoint_every: int = 200
    """Steps between checkpoints, each with a validation."""
    seed: int = 0
    """Seed of everything that is drawn: split, weights, tasks."""
    validation_tasks: int = 12
    """Fixed tasks on validation organs that score a checkpoint."""
    track: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where the metrics go beside `metrics.jsonl`: files in the run's folder for TensorBoard,
    Weights & Biases, or both; each needs the optional extra of its name."""
    tasks: Tasks = Tasks()
    network: Network = Network()
    inner: Inner = INNER["meta-sgd"]
    outer: Outer = Outer()
    task_weights: TaskWeights = TaskWeights()
    prompted: Prompted = Prompted()
    loss: Loss = Loss()
    augment: Augmentation = Augmentation(invert=0.5)
    distributed: bool = False
    """This is one of several processes, started by Slurm, Open MPI or on a TPU pod, that train one
    run on all their devices."""
    structures: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """What training draws, as data set/organ: filled in by the run."""
    axis: Annotated[str, tyro.conf.Suppress] = "acquired"
    """By which rule volumes are cut into slices: filled in by the run."""
    planes: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """The planes that slices are nearest to that the run learns from: filled in by the run."""
    frames: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """For each data set that it learns from the directions in space along which its slices, rows
    and columns run: filled in by the run."""
    modality: Annotated[Literal["ct", "mr"] | None, tyro.conf.Suppress] = None
    """What all scans are that the run learns from, if they are one: filled in by the run."""
    channel: Annotated[str | None, tyro.conf.Suppress] = None
    """The channel that they all are of files that hold several, if it is one: filled in by the
    run."""
    pixels: Annotated[tuple[float, ...], tyro.conf.Suppress] = ()
    """The least and the largest mm of a pixel, as the network saw the scans that the run learned
    from: filled in by the run."""
