"""Segment Anything: its options, which size a run is of, and the weights that it begins with."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from jaxtyping import PyTree

from jaxmeta.errors import BadInput
from jaxmeta.methods.networks.network import Network
from jaxmeta.methods.origins import told_of
from jaxmeta.models.sam import SIZES, Size
from jaxmeta.models.sam.files import SIZE, read_preprocessing, read_size, read_weights
from jaxmeta.models.sam.images import Preprocessing, slices_as_colors
from jaxmeta.models.sam.resize import for_image
from jaxmeta.models.sam.weights import size_name
from jaxmeta.options import options


@options
class SamTiny:
    """Segment Anything at 4 million parameters, for slices of 256 pixels."""


@options
class Sam:
    """Segment Anything of the size of the weights that the run begins with."""


def size_of(config: Any) -> Size:
    """Say how large a run's network is: as the weights that it begins with, for slices of its own
    size.

    Raises BadInput for slices that are not whole patches, and for a beginning that is none.
    """
    tiny = isinstance(config.network, SamTiny)
    return for_slices(SIZES["tiny"] if tiny else begun_size(config.origin), config.tasks.size)


def for_slices(size: Size, side: int) -> Size:
    """Take a size for slices of `side` pixels, which must be whole patches."""
    if side % size.patch:
        raise BadInput(
            f"`tasks.size={side}`: must be a multiple of a patch of {size.patch} x {size.patch} "
            "pixels"
        )
    return size._replace(image=side)


def begun_size(begin: Path) -> Size:
    """Say how large the network is that a run begins with."""
    if converted(begin):
        return read_size(begin)
    theirs = told_of(begin)
    if not theirs:
        raise BadInput(f"{begin} is no run and no folder of converted weights")
    method, network = theirs["method"]["type"], theirs["network"]["type"]
    if method != "sam":
        raise BadInput(
            f"{begin} is of {method}: begin with a run of sam, or a folder that "
            "`jaxmeta convert-sam` wrote"
        )
    size = SIZES["tiny"] if network == SAM_TINY.name else begun_size(Path(theirs["init_from"]))
    return size._replace(image=theirs["tasks"]["size"])


def converted(folder: Path) -> bool:
    """Tell a folder of converted weights from that of a run."""
    return (folder / SIZE).exists()


def begun(config: Any, read: Callable[[], PyTree]) -> PyTree:
    """Read what a run begins with: another run of Segment Anything, or converted weights."""
    begun_size(config.origin)  # or it is none of Segment Anything's
    return weights_of(config, size_of(config), None if converted(config.origin) else read())


def weights_of(config: Any, wanted: Size, learned: PyTree) -> PyTree:
    """Fit the image encoder that a run begins with to a network of this size.

    `learned` is the network of the run `config.init_from`; None reads a folder of converted
    weights. Raises BadInput for one of another size, which it names.
    """
    known = begun_size(config.origin)
    if known._replace(image=wanted.image) != wanted:
        raise BadInput(
            f"{config.origin} is {size_name(known)}, and the run's network is {size_name(wanted)}: "
            "leave `init_from` out, or take a preset of its size"
        )
    learned = read_weights(config.origin) if learned is None else learned
    encoder, _ = for_image(learned["image_encoder"], known, wanted.image)
    return learned | {"image_encoder": encoder}


def preprocessing_of(config: Any) -> Preprocessing:
    """Say how the weights that a run begins with were shown images, but for their proportions:
    slices come as squares."""
    known = config.origin and converted(config.origin)
    if not known:
        return Preprocessing()
    return read_preprocessing(config.origin)._replace(stretched=False)


def colors_of(config: Any) -> Callable:
    """Choose how slices become colors: as the frozen encoder was shown them."""
    how = preprocessing_of(config)
    if how == Preprocessing():
        return slices_as_colors
    return partial(slices_as_colors, preprocessing=how)


def check_sam(config: Any) -> None:
    """Refuse what no Segment Anything can be made of."""
    if not isinstance(config.network, (Sam, SamTiny)) or config.own_network:
        raise BadInput("this method needs Segment Anything as its network: see the presets")
    if isinstance(config.network, Sam) and config.origin is None:
        raise BadInput(
            "this network needs `init_from`: a folder that `jaxmeta convert-sam` wrote, or a run "
            "of sam; without weights there are the presets sam-tiny and ssm-sam-tiny"
        )


SAM_TINY = Network("sam-tiny", SamTiny, None, begin=begun)
SAM = Network("sam", Sam, None, begin=begun)
