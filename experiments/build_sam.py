"""How a configuration becomes a Segment Anything network, its frozen weights, and what learns on it."""

from pathlib import Path

from jaxtyping import PyTree

from experiments import saved
from experiments.configs import Config, Network
from jaxmeta import algorithms
from jaxmeta.algorithms import Algorithm
from jaxmeta.algorithms.ssm_sam import as_pictures
from jaxmeta.errors import BadInput
from jaxmeta.memory import Memory
from jaxmeta.models.sam import SIZES, Size, sam
from jaxmeta.models.sam.adapters import Adapter, bottleneck, high_pass, low_rank
from jaxmeta.models.sam.files import SIZE, read_size, read_weights
from jaxmeta.models.sam.images import slices_as_colours
from jaxmeta.models.sam.resize import for_image
from jaxmeta.models.ssm_sam import SsmSam, ssm_sam

KINDS = ("sam-tiny", "sam")  # of Network


def size_of(config: Config) -> Size:
    """Say how large a run's network is: as the weights that it begins with, for slices of its own size."""
    if config.network.kind == "sam-tiny":
        size = SIZES["tiny"]
    elif converted(config.begin):
        size = read_size(config.begin)
    else:
        size = size_of(saved.read(config.begin)[0])
    return size._replace(image=config.tasks.size)


def converted(folder: Path) -> bool:
    """Tell a folder of converted weights from that of a run."""
    return (folder / SIZE).exists()


def weights_of(begin: Path, learned: PyTree, side: int) -> PyTree:
    """Fit the image encoder that a run begins with to slices of this side.

    `learned` is the network of the run `begin`; None reads a folder of converted weights.
    """
    if learned is None:
        learned, size = read_weights(begin), read_size(begin)
    else:
        size = size_of(saved.read(begin)[0])
    encoder, _ = for_image(learned["image_encoder"], size, side)
    return learned | {"image_encoder": encoder}


def build_sam(config: Config, network: PyTree) -> Algorithm:
    """Make what learns the whole of Segment Anything, from these variables on or from nothing."""
    made = sam(size_of(config))
    if network:
        made = made._replace(init=lambda key: network)
    return algorithms.promptable(made)


def build_ssm_sam(config: Config, memory: Memory) -> Algorithm:
    """Make SSM-SAM."""
    inner, how = config.inner, config.prompted
    return algorithms.ssm_sam(
        ssm_network(config),
        chunk=config.tasks.width - 1,
        passes=inner.steps,
        rate=inner.rate,
        learn_rate=inner.learn_rate,
        order=inner.order,
        test_steps=inner.test_steps,
        test_rate=inner.test_rate,
        weight_decay=inner.test_weight_decay,
        period=how.period,
        prompt=how.prompt,
        transposed=how.transposed_points,
        colours=as_pictures if how.raw_colours else slices_as_colours,
        memory=memory,
    )


def ssm_network(config: Config) -> SsmSam:
    """Make the network of SSM-SAM."""
    how, size = config.prompted, size_of(config)
    return ssm_sam(
        size,
        adapter_of(config.network, size, mixed=how.mixed_tokens),
        attends=how.attends,
        dropout=how.dropout,
        copies=how.copies,
    )


def adapter_of(network: Network, size: Size, *, mixed: bool) -> Adapter:
    """Make the adapter."""
    last, width = network.last_blocks, network.adapter_width
    if last is not None and not 0 < last <= size.depth:
        raise BadInput(f"--network.last-blocks {last}: the image encoder has {size.depth} blocks")
    match network.adapter:
        case "high-pass":
            return high_pass(size, last=last, width=width or 24, mixed=mixed)
        case "low-rank":
            return low_rank(size, last=last, rank=width or 4)
        case "bottleneck":
            return bottleneck(size, last=last, width=width)
