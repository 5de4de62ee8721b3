"""MetaMedSeg's U-Net: its options, and what they cannot be."""

from typing import Any

from jaxmeta.methods.networks.network import Network
from jaxmeta.methods.networks.unet import refuse_levels
from jaxmeta.models import Model, instance_unet
from jaxmeta.options import options


@options
class InstanceUnet:
    """The U-Net of MetaMedSeg, with instance normalization."""

    widths: tuple[int, ...] = (32, 64, 128)
    """Channels of each level, from full resolution down."""


def model(config: Any, outputs: int, *, features: bool = False) -> Model:
    """Make it; as in the paper its outputs begin around 0."""
    return instance_unet(config.network.widths, classes=outputs)


def check(config: Any) -> None:
    """Refuse levels that do not fit."""
    refuse_levels(config.network.widths, config.tasks.size)


INSTANCE_UNET = Network("instance-unet", InstanceUnet, model, check=check, transfer_rate=2e-2)
