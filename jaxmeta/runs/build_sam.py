"""How a configuration becomes a Segment Anything network, its frozen weights, and what learns on
it."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

from jaxtyping import PyTree

from jaxmeta import algorithms
from jaxmeta.algorithms import Algorithm
from jaxmeta.algorithms.ssm_sam import Online
from jaxmeta.errors import BadInput
from jaxmeta.inner_loop.rematerialise import Memory
from jaxmeta.methods.ssm_sam import released
from jaxmeta.models.sam import SIZES, Size, sam
from jaxmeta.models.sam.adapters import Adapter, bottleneck, high_pass, low_rank
from jaxmeta.models.sam.files import SIZE, read_preprocessing, read_size, read_weights
from jaxmeta.models.sam.images import Preprocessing, slices_as_colors
from jaxmeta.models.sam.resize import for_image
from jaxmeta.models.sam.weights import named
from jaxmeta.models.ssm_sam import SsmSam, self_sampling
from jaxmeta.runs import config_file
from jaxmeta.runs.config import Config, Network

KINDS = ("sam-tiny", "sam")  # of Network


def size_of(config: Config) -> Size:
    """Say how large a run's network is: as the weights that it begins with, for slices of its own
    size.

    Raises BadInput for slices that are not whole patches, and for a beginning that is none.
    """
    size = SIZES["tiny"] if config.network.kind == "sam-tiny" else begun_size(config.init_from)
    side = config.tasks.size
    if side % size.patch:
        raise BadInput(
            f"--tasks.size {side}: must be a multiple of a patch of {size.patch} x {size.patch} "
            "pixels"
        )
    return size._replace(image=side)


def begun_size(begin: Path) -> Size:
    """Say how large the network is that a run begins with."""
    if converted(begin):
        return read_size(begin)
    theirs, _ = config_file.read(begin)
    if theirs.algorithm != "sam":
        raise BadInput(
            f"{begin} is of {theirs.algorithm}: begin with a run of sam, or a folder that "
            "convert_sam wrote"
        )
    return size_of(theirs)


def converted(folder: Path) -> bool:
    """Tell a folder of converted weights from that of a run."""
    return (folder / SIZE).exists()


def weights_of(config: Config, learned: PyTree) -> PyTree:
    """Fit the image encoder that a run begins with to its slices.

    `learned` is the network of the run `config.begin`; None reads a folder of converted weights.
    Raises BadInput for one of another size, which it names.
    """
    known, wanted = begun_size(config.init_from), size_of(config)
    if known._replace(image=wanted.image) != wanted:
        raise BadInput(
            f"{config.init_from} is {named(known)}, and {config.network.kind} is {named(wanted)}: "
            "leave --init-from out, or ask for --network.kind sam"
        )
    learned = read_weights(config.init_from) if learned is None else learned
    encoder, _ = for_image(learned["image_encoder"], known, wanted.image)
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
    network = ssm_network(config)
    made = algorithms.ssm_sam(
        released.transposed_points(network) if how.transposed_points else network,
        chunk=config.tasks.width - 1,
        passes=inner.steps,
        rate=inner.rate,
        learn_rate=inner.learn_rate,
        order=inner.order,
        online=Online(inner.test_steps, inner.test_rate, inner.test_weight_decay, how.period),
        points_from=how.prompt,
        colors=colors_of(config),
        memory=memory,
    )
    return released.repeated_support(made, how.copies) if how.copies > 1 else made


def colors_of(config: Config) -> Callable:
    """Choose how slices become colors: as the frozen encoder was shown them, or as pictures
    are."""
    if config.prompted.raw_colors:
        return released.raw_colors
    preprocessing = preprocessing_of(config)
    return (
        slices_as_colors
        if preprocessing == Preprocessing()
        else partial(slices_as_colors, preprocessing=preprocessing)
    )


def preprocessing_of(config: Config) -> Preprocessing:
    """Say how the weights that a run begins with were shown images, but for their proportions:
    slices come as squares."""
    known = config.init_from and converted(config.init_from)
    return (
        read_preprocessing(config.init_from)._replace(stretched=False) if known else Preprocessing()
    )


def ssm_network(config: Config) -> SsmSam:
    """Make the network of SSM-SAM."""
    how, size = config.prompted, size_of(config)
    adapter = adapter_of(config.network, size)
    return self_sampling(
        size,
        released.mixed_tokens(adapter) if how.mixed_tokens else adapter,
        attends=how.attends,
        dropout=how.dropout,
        copies=how.copies,
    )


def adapter_of(network: Network, size: Size) -> Adapter:
    """Make the adapter."""
    last, width = network.last_blocks, network.adapter_width
    if last is not None and not 0 < last <= size.depth:
        raise BadInput(f"--network.last-blocks {last}: the image encoder has {size.depth} blocks")
    match network.adapter:
        case "high-pass":
            return high_pass(size, last=last, width=width or 24)
        case "low-rank":
            return low_rank(size, last=last, rank=width or 4)
        case "bottleneck":
            return bottleneck(size, last=last, width=width)
