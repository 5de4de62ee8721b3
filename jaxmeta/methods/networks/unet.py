"""The U-Net that most presets have: its options, and what they cannot be."""

from collections.abc import Sequence
from typing import Any

from jaxmeta.errors import BadInput
from jaxmeta.methods.networks.network import Network
from jaxmeta.models import Model, unet
from jaxmeta.options import options


@options
class Unet:
    """U-Net with GroupNorm and nearest upsampling."""

    widths: tuple[int, ...] = (8, 16, 32, 64)
    """Channels of each level, from full resolution down."""
    groups: int = 8
    """Groups of GroupNorm."""
    prior: float = -2.5
    """Logit of the untrained output: -2.5 says that a structure fills about 8 % of a slice."""


def model(config: Any, classes: int, *, prior: float | None = None) -> Model:
    """Make it; its outputs begin at the configuration's prior, or at this one."""
    own = config.network
    prior = own.prior if prior is None else prior
    return unet(own.widths, classes=classes, groups=own.groups, prior=prior)


def check(config: Any) -> None:
    """Refuse levels that do not fit, and channels that are no whole groups."""
    widths, groups = config.network.widths, config.network.groups
    refuse_levels(widths, config.tasks.size)
    for width in widths if groups else ():
        if width % min(groups, width):
            raise BadInput(
                f"`network.widths={width}`: does not split into {groups} groups; give a "
                "multiple, or other `network.groups`"
            )


def refuse_levels(widths: Sequence[int], size: int) -> None:
    """Refuse levels without channels, and slices that cannot be halved so often; 0 can."""
    if min(widths, default=0) < 1:
        raise BadInput(f"`network.widths={widths}`: must be at least 1")
    multiple = 2 ** (len(widths) - 1)
    if size % multiple:
        raise BadInput(
            f"`tasks.size={size}`: a network of {len(widths)} levels needs a multiple of {multiple}"
        )


UNET = Network("unet", Unet, model, check=check, shipped=True)
