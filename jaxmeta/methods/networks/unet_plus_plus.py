"""UNet++, the network of MLB-Seg: its options, and what they cannot be."""

from typing import Any

from jaxmeta.methods.networks.network import Network
from jaxmeta.methods.networks.unet import refuse_groups, refuse_levels
from jaxmeta.models import Model, unet_plus_plus
from jaxmeta.options import options


@options
class UnetPlusPlus:
    """UNet++: a U-Net whose skips are filled with blocks."""

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Channels of each level, from full resolution down."""
    groups: int = 8
    """Groups of GroupNorm; 0: BatchNorm, with running statistics, as published."""
    output_bias: float = 0.0
    """Logit of the untrained output."""


def model(config: Any, outputs: int, *, features: bool = False) -> Model:
    """Make it; features begin around 0."""
    own = config.network
    bias = 0.0 if features else own.output_bias
    return unet_plus_plus(own.widths, classes=outputs, groups=own.groups, output_bias=bias)


def check(config: Any) -> None:
    """Refuse levels that do not fit, and channels that are no whole groups."""
    refuse_levels(config.network.widths, config.tasks.size)
    refuse_groups(config.network.widths, config.network.groups)


def stateful(config: Any) -> str:
    """Tell whether it has running statistics."""
    return "" if config.network.groups else "running"


UNET_PLUS_PLUS = Network("unet-plus-plus", UnetPlusPlus, model, check=check, stateful=stateful)
