"""Measure what this machine makes of the library; `BENCHMARKS.md` holds what was measured before.

python -m experiments.benchmark meta-step --size 64 --width 16 --steps 3 --tasks 4 --shots 5
python -m experiments.benchmark sweep --over steps --values 1 2 4 8 16 --output steps.png
python -m experiments.benchmark prepare --input DIR
"""

import json as json_
import sys
from pathlib import Path
from typing import Literal

import tyro

from experiments.benchmarks import core, mlb, sam
from experiments.benchmarks import data as data_
from experiments.benchmarks import masks as masks_
from experiments.benchmarks import metrics as metrics_
from experiments.benchmarks import sweep as sweep_
from experiments.benchmarks import volumes as volumes_
from jaxmeta.commands.command import refuse_repeated, run
from jaxmeta.options import path_or_none
from jaxmeta.parallel import devices

Memory = Literal["plain", "remat", "mixed"]
Algorithm = Literal["maml", "anil", "meta-sgd", "maml++", "reptile", "imaml", "prototypes"]


def meta_step(
    size: int = 64,
    width: int = 16,
    steps: int = 3,
    tasks: int = 4,
    shots: int = 5,
    order: Literal[1, 2] = 2,
    algorithm: Algorithm = "maml",
    memory: Memory = "remat",
    repeat: int = 5,
    parity: Literal["off"] | Path = "off",
    json: bool = False,
) -> None:
    """Time one meta-gradient on the yardstick's network.

    Args:
        size: rows and columns of a slice.
        width: channels of the first of four levels.
        steps: inner steps.
        tasks: tasks in the batch, spread over the devices.
        shots: slices of a task, support and query alike.
        order: 2 differentiates through the inner steps, 1 holds them fixed.
        algorithm: what is differentiated.
        memory: what the second order keeps of inner steps.
        repeat: timed runs after the first; the median counts.
        parity: a file of weights, batch and results of another framework to agree with, or off.
        json: print one JSON object.
    """
    options = dict(size=size, width=width, steps=steps, tasks=tasks, shots=shots, order=order)
    options |= dict(algorithm=algorithm, memory=memory)
    show(options, core.meta_step(**options, repeat=repeat, parity=path_or_none(parity)), json)


def sweep(
    over: Literal["steps", "tasks", "size"],
    values: tuple[int, ...],
    output: Path,
    memory: tuple[Memory, ...] = ("plain", "remat", "mixed"),
    width: int = 16,
    repeat: int = 3,
) -> None:
    """Draw time and memory of the second-order meta-gradient against one of its sizes.

    Args:
        over: what varies; the others are 3 inner steps, 4 tasks and 64 rows and columns, 5 slices.
        values: its values.
        output: the picture; the figures are written beside it, as CSV.
        memory: modes to compare.
        width: channels of the first of four levels.
        repeat: timed runs after the first; the median counts.
    """
    sweep_.sweep(over, values, output, memory, width=width, repeat=repeat)


def volumes(
    size: int = 64,
    tasks: int = 8,
    slices: int = 20,
    fill: float = 0.8,
    epochs: int = 2,
    repeat: int = 3,
    json: bool = False,
) -> None:
    """Time MetaMedSeg's step over volumes of different lengths, against one whose tasks are all
    full.

    Args:
        size: rows and columns of a slice.
        tasks: volumes in a step.
        slices: slices that a task has room for.
        fill: share of that room that volumes fill on average.
        epochs: passes over each volume.
        repeat: timed runs after the first; the median counts.
        json: print one JSON object.
    """
    options = dict(size=size, tasks=tasks, slices=slices, fill=fill, epochs=epochs)
    show(options, volumes_.volumes(**options, repeat=repeat), json)


def adapt(
    size: int = 64,
    width: int = 16,
    steps: int = 20,
    shots: int = 5,
    repeat: int = 5,
    json: bool = False,
) -> None:
    """Time the adaptation to one support, as at test time.

    Args:
        size: rows and columns of a slice.
        width: channels of the first of four levels.
        steps: inner steps.
        shots: support slices.
        repeat: timed runs after the first; the median counts.
        json: print one JSON object.
    """
    options = dict(size=size, width=width, steps=steps, shots=shots)
    show(options, core.adaptation(**options, repeat=repeat), json)


def mlb_step(
    size: int = 64,
    width: int = 16,
    unlabelled: int = 1,
    clean: int = 2,
    network: Literal["unet", "unet++"] = "unet",
    repeat: int = 5,
    parity: Literal["off"] | Path = "off",
    json: bool = False,
) -> None:
    """Time one iteration of MLB-Seg, beside a plain step on the same looks at the same slices.

    Args:
        size: rows and columns of a slice.
        width: channels of the first level: of four, or of five of UNet++, each twice as wide.
        unlabelled: slices with initial labels, in five looks each.
        clean: labelled slices, likewise.
        network: the yardstick's U-Net, or UNet++.
        repeat: timed runs after the first; the median counts.
        parity: a file of weights, batch and results of another framework to agree with, or off.
        json: print one JSON object.
    """
    options = dict(size=size, width=width, unlabelled=unlabelled, clean=clean, network=network)
    show(options, mlb.mlb_step(**options, repeat=repeat, parity=path_or_none(parity)), json)


def prepare(
    input: tuple[Path, ...],
    modality: tuple[str, ...] = (),
    labels: tuple[str, ...] = (),
    channel: tuple[str, ...] = (),
    repeat: int = 3,
    json: bool = False,
) -> None:
    """Time preparing shards on one core, against nibabel merely loading the same files.

    Args:
        input: folders of volumes, as prepare_data takes them.
        modality: as prepare_data takes it.
        labels: as prepare_data takes them.
        channel: as prepare_data takes it.
        repeat: timed runs; the median counts.
        json: print one JSON object.
    """
    options = dict(modality=modality, labels=labels, channel=channel)
    show({}, data_.prepare(input, repeat=repeat, **options), json)


def load(
    data: tuple[Path, ...],
    size: int = 128,
    tasks: int = 4,
    slices: int = 10,
    batches: int = 50,
    json: bool = False,
) -> None:
    """Count the slices that one core reads, resizes and normalizes in a second.

    Args:
        data: folders of shards.
        size: rows and columns of a slice.
        tasks: tasks in a batch.
        slices: slices of a task, half of them support.
        batches: batches timed.
        json: print one JSON object.
    """
    options = dict(size=size, tasks=tasks, slices=slices, batches=batches)
    show({}, data_.load(data, **options), json)


def metrics(
    shape: tuple[int, int, int] = (512, 512, 300),
    spacing: tuple[float, float, float] = (0.8, 0.8, 1.0),
    json: bool = False,
) -> None:
    """Time all measures of one large case, by every convention, and of two cases that are hard to
    search.

    Args:
        shape: voxels of the volume.
        spacing: mm along its axes.
        json: print one JSON object.
    """
    show({}, metrics_.metrics(shape, spacing), json)


def masks(
    shape: tuple[int, int, int] = (256, 256, 40),
    spacing: tuple[float, float, float] = (1.5, 1.5, 6.0),
    volumes: int = 4,
    json: bool = False,
) -> None:
    """Time masks without training: to the first, and from one to the next, with reading and
    writing.

    Args:
        shape: voxels of a volume.
        spacing: mm along its axes.
        volumes: how many are segmented.
        json: print one JSON object.
    """
    show(dict(volumes=volumes), masks_.masks(shape, spacing, volumes), json)


Sam = Literal["tiny", "vit-b", "vit-l", "vit-h"]


def encode(size: Sam = "vit-b", image: int = 0, repeat: int = 3, json: bool = False) -> None:
    """Time Segment Anything's encoder on one image, against the same network in PyTorch if that is
    there.

    Args:
        size: of the network.
        image: pixels along a side; 0: the size's own.
        repeat: timed runs after the first; the median counts.
        json: print one JSON object.
    """
    options = dict(size=size, image=image)
    show(options, sam.encode(**options, repeat=repeat), json)


def adapt_sam(
    size: Sam = "tiny",
    image: int = 0,
    steps: int = 30,
    chunk: int = 2,
    repeat: int = 3,
    json: bool = False,
) -> None:
    """Time SSM-SAM's adaptation to one slice, and the segmentation of a chunk of its neighbors.

    Args:
        size: of the network.
        image: pixels along a side; 0: the size's own.
        steps: online steps.
        chunk: slices that are segmented at once.
        repeat: timed runs after the first; the median counts.
        json: print one JSON object.
    """
    options = dict(size=size, image=image, steps=steps, chunk=chunk)
    show(options, sam.adaptation(**options, repeat=repeat), json)


def step_sam(
    size: Sam = "tiny",
    image: int = 0,
    organs: int = 3,
    shots: int = 3,
    queries: int = 2,
    passes: int = 3,
    chunk: int = 2,
    repeat: int = 3,
    json: bool = False,
) -> None:
    """Time one first-order meta-step of SSM-SAM, by default that of ssm-sam-tiny.

    Args:
        size: of the network.
        image: pixels along a side; 0: the size's own.
        organs: tasks of the step.
        shots: chunks to adapt to.
        queries: chunks to prove it on.
        passes: over the chunks to adapt to.
        chunk: slices of a chunk that are segmented.
        repeat: timed runs after the first; the median counts.
        json: print one JSON object.
    """
    options = dict(size=size, image=image, organs=organs, shots=shots, queries=queries)
    options |= dict(passes=passes, chunk=chunk)
    show(options, sam.step(**options, repeat=repeat), json)


def show(options: dict, figures: dict, json: bool) -> None:
    """Print figures with what they were measured for."""
    figures = options | figures
    if json:
        print(json_.dumps(figures))
        return
    for name, value in figures.items():
        print(f"{name:16} {value:.4g}" if isinstance(value, float) else f"{name:16} {value}")


COMMANDS = {
    "meta-step": meta_step,
    "mlb-step": mlb_step,
    "sweep": sweep,
    "prepare": prepare,
    "load": load,
    "adapt": adapt,
    "volumes": volumes,
    "metrics": metrics,
    "masks": masks,
    "encode": encode,
    "adapt-sam": adapt_sam,
    "step-sam": step_sam,
}


def main() -> None:
    """Parse and measure."""
    refuse_repeated(sys.argv[1:])
    devices.split_processor()  # no cache of compiled programs: compiling is timed too
    tyro.extras.subcommand_cli_from_dict(COMMANDS, description=__doc__)


if __name__ == "__main__":
    run(main)
