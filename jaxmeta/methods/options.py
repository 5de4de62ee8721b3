"""Groups of options that several methods share: tasks, losses, the outer optimizer.

Each is a frozen dataclass with a docstring a field: what `--help` and the reference show. What a
method has besides is its own dataclass, in its own file.
"""

from typing import Literal

from jaxmeta.options import options

BATCH = 4  # tasks in a step, where the devices do not ask for more


@options
class Tasks:
    """What a training step sees, whatever kind of task it is."""

    size: int = 0
    """Rows and columns of a slice, in pixels, after resizing; 0: as the shards were prepared
    for."""
    spacing: float | Literal["shards"] = "shards"
    """Millimeters a pixel; shards: as they were prepared for; 0 stretches each slice to the
    square."""
    shots: int = 3
    """Support slices of a task."""
    queries: int = 3
    """Query slices of a task."""
    least_pixels: int = 1
    """Pixels at native resolution that a structure must have in a slice to be trained on there."""
    batch_size: int = 0
    """Tasks in a step; 0: 4, or as many more as give each GPU or TPU chip the same."""
    vmap: int = 0
    """Tasks that a device does side by side; 0: 1 on a CPU, all of its own elsewhere."""

    @property
    def mm(self) -> float | None:
        """Give the mm of a pixel, once a run has resolved it; None where slices are stretched."""
        return self.spacing or None


@options
class Episodes(Tasks):
    """Few-shot episodes: support and query slices of a structure."""

    kind: Literal["episodes", "supervoxels", "synthetic"] = "episodes"
    """episodes: support and query of different patients; supervoxels: without labels, a piece of
    one scan and the same or the next slices of it, changed in another way (prepare_data
    --supervoxels); synthetic: cohorts that the device makes, with no scan read in training: the
    data choose the checkpoint and are tested on."""
    support_patients: int = 1
    """Patients that the support slices come from."""
    query_patients: int = 4
    """Patients that the query slices come from at most."""
    single_patients: bool = False
    """Learn from organs of one patient too; their query slices are others of the same scans."""
    negative_fraction: float = 0.25
    """Share of query slices without the organ, as in a whole volume."""


@options
class Volumes(Tasks):
    """Many slices of one structure, learned from alone; the query is watched."""

    kind: Literal["volumes", "pooled"] = "volumes"
    """volumes: the slices of one scan, every k-th where there are more than `shots`; pooled:
    `shots` slices of any patients."""
    decathlon: bool = False
    """Learn from the 24 sub-tasks that MetaMedSeg makes of the Medical Segmentation Decathlon, with
    their thresholds and weights; otherwise every data set counts alike."""


@options
class Chunks(Tasks):
    """Chunks of neighboring slices, of which the middle one gives its mask to the others; shots and
    queries count chunks."""

    width: int = 5
    """Slices of a chunk: 5 where they lie close together, as in CT, 3 where they do not."""
    stride: int = 5
    """Slices from the beginning of one chunk to that of the next."""


@options
class SetLoss:
    """A loss of a set of slices together, in two parts."""

    cross_entropy: float = 3.0
    """Weight of the binary cross-entropy, a mean over pixels."""
    dice: float = 1.0
    """Weight of the soft Dice loss, over all slices of a set together."""


@options
class SliceLoss:
    """A loss of each slice alone, as MetaMedSeg has them."""

    of_slice: Literal["iou", "bce", "bce_weighted", "combined", "combined2", "tversky"] = "iou"
    """Which one."""


@options
class OwnLoss:
    """The method has a loss of its own, without options."""


@options
class Outer:
    """The optimizer of the meta-parameters."""

    optimizer: Literal["adamw", "sgd"] = "adamw"
    """Rule of the meta-update; sgd for Reptile and MetaMedSeg, whose rate is then the paper's."""
    schedule: Literal["cosine", "constant", "harmonic"] = "cosine"
    """How the rate goes on after the warm-up; harmonic: as 1 / (1 + 6 t), t the share of the steps
    that are done, which in 120 epochs is MLB-Seg's 20 / (epoch + 20)."""
    rate: float = 2e-3
    """Highest rate of the schedule."""
    warmup: float = 0.05
    """Share of the steps in which the rate rises."""
    clip: float = 10.0
    """Largest norm of a meta-gradient; longer ones are scaled down. 0: never."""
    weight_decay: float = 0.0
    """Decoupled weight decay (adamw)."""


Loss = SetLoss | SliceLoss | OwnLoss


@options
class Adaptation:
    """Steps down the support's loss."""

    test_steps: int = 10
    """Inner steps at test time."""
    rate: float = 0.15
    """Inner rate, or where learned rates start."""
    optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    """Rule of the inner update."""
    clip: float = 1.0
    """Largest norm of an inner gradient; longer ones are scaled down. 0: never."""
    augment: float = 0.0
    """At test time each inner step sees the support augmented anew: a factor on what --augment does
    to single images. Baselines that are fine-tuned see the same."""


@options
class InnerLoop(Adaptation):
    """An inner loop that training runs too."""

    steps: int = 4
    """Inner steps in training."""


@options
class Differentiated(InnerLoop):
    """An inner loop that is differentiated through."""

    decay: float = 0.8
    """Factor from step to step on the rate of test steps beyond `steps`."""
    trainable: tuple[str, ...] = ()
    """What the inner loop moves, as head or up_0/conv_1; without a name, every parameter."""
