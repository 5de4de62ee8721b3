"""The U-Net that most presets have: its options, and what they cannot be."""

from collections.abc import Sequence
from typing import Any, Literal

import jax

from jaxmeta.errors import BadInput
from jaxmeta.methods.networks.network import Network
from jaxmeta.models import Model, unet
from jaxmeta.models.informed import CHANNELS, informed
from jaxmeta.options import options
from jaxmeta.tasks.prompter import EVIDENCE, Prompter


@options
class Unet:
    """U-Net with GroupNorm and nearest upsampling."""

    widths: tuple[int, ...] = (8, 16, 32, 64)
    """Channels of each level, from full resolution down."""
    groups: int = 8
    """Groups of GroupNorm."""
    output_bias: float = -2.5
    """Logit of the untrained output: -2.5 says that a structure fills about 8 % of a slice."""
    prior: Literal["none", "atlas"] = "none"
    """What it begins with. atlas: the rule of `jaxmeta/atlas/` (place and intensity); the network
    sees its evidence beside each slice, its logit is added to the outputs, and untrained they are
    the rule's. Takes .3 s of a processor for each task at 64x64."""


def model(config: Any, outputs: int, *, features: bool = False) -> Model:
    """Make it; features, and corrections of a rule, begin around 0."""
    own = config.network
    bias = own.output_bias if own.prior == "none" and not features else 0.0
    how = dict(classes=outputs, groups=own.groups, output_bias=bias)
    if own.prior == "none":
        return unet(own.widths, **how)
    if not features:
        how |= dict(head_init=jax.nn.initializers.zeros)
    return informed(unet(own.widths, channels=1 + CHANNELS, **how), corrects=not features)


def prompter(config: Any) -> Prompter | None:
    """Tell slices what the atlas says of them, where the network begins with that."""
    return EVIDENCE if config.network.prior == "atlas" else None


def check(config: Any) -> None:
    """Refuse levels that do not fit, and channels that are no whole groups."""
    widths, groups = config.network.widths, config.network.groups
    kind = getattr(config.tasks, "kind", "chunks")
    if config.network.prior == "atlas" and kind not in ("episodes", "supervoxels"):
        raise BadInput(
            f"`network.prior=atlas` with `tasks.kind={kind}`: the atlas is asked about episodes or "
            "supervoxels, on the host"
        )
    refuse_levels(widths, config.tasks.size)
    refuse_groups(widths, groups)


def refuse_levels(widths: Sequence[int], size: int) -> None:
    """Refuse levels without channels, and slices that cannot be halved so often; 0 can."""
    if min(widths, default=0) < 1:
        raise BadInput(f"`network.widths={widths}`: must be at least 1")
    multiple = 2 ** (len(widths) - 1)
    if size % multiple:
        raise BadInput(
            f"`tasks.size={size}`: a network of {len(widths)} levels needs a multiple of {multiple}"
        )


def refuse_groups(widths: Sequence[int], groups: int) -> None:
    """Refuse channels that are no whole groups; without groups any will do."""
    for width in widths if groups else ():
        if width % min(groups, width):
            raise BadInput(
                f"`network.widths={width}`: does not split into {groups} groups; give a "
                "multiple, or other `network.groups`"
            )


UNET = Network("unet", Unet, model, check=check, prompter=prompter, shipped=True)
