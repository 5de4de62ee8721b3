"""The parts that methods are made of: options become networks, losses and inner rules here."""

from collections.abc import Callable
from functools import partial
from typing import Any

import optax
from jaxtyping import PyTree

from jaxmeta.augmentation.augment import upright, varied
from jaxmeta.errors import BadInput
from jaxmeta.inner_loop.rematerialise import MIXED, PLAIN, REMAT
from jaxmeta.inner_loop.transforms import clip_norm
from jaxmeta.losses.of_slices import LOSSES, slice_loss
from jaxmeta.losses.segmentation import segmentation_loss
from jaxmeta.methods.options import Adaptation, InstanceUnet, SliceLoss, Unet
from jaxmeta.methods.own_network import own_network
from jaxmeta.models import Model, begin_with, instance_unet, unet

OPTIMIZERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    # eps_root keeps the derivative of Adam finite where a gradient is 0
    "adam": partial(optax.adam, eps_root=1e-8),
}
MEMORY = {"plain": PLAIN, "remat": REMAT, "mixed": MIXED}


def network_of(config: Any, classes: int, prior: float | None = None) -> Model:
    """Make the network; its outputs begin at the configuration's prior, or at this one."""
    network = config.network
    if config.own_network:
        return own_network(config.own_network, classes, config.tasks.size or None)
    if isinstance(network, InstanceUnet):
        return instance_unet(network.widths, classes=classes)
    prior = network.prior if prior is None else prior
    return unet(network.widths, classes=classes, groups=network.groups, prior=prior)


def loss_of(config: Any) -> Callable[[Model], Callable]:
    """Make the loss of a model."""
    how = config.loss
    if isinstance(how, SliceLoss):
        return partial(slice_loss, of=LOSSES[how.of_slice])
    return partial(segmentation_loss, cross_entropy_weight=how.cross_entropy, dice_weight=how.dice)


def started(model: Model, begin: PyTree) -> Model:
    """Let a model begin with variables that others have learned, where there are any."""
    return begin_with(model, begin) if begin else model


def network_and_loss(config: Any, *, testing: bool = False) -> tuple[Model, Callable]:
    """Make the network with one output, and its loss in training or at test time."""
    model = network_of(config, 1)
    loss = loss_of(config)(model)
    changes = getattr(config.method, "augment", 0.0)
    if testing and changes:
        loss = varied(loss, upright(config.augment, changes))
    return model, loss


def inner_rule(
    own: Adaptation, *, differentiated: bool = True
) -> Callable[[float], optax.GradientTransformation]:
    """Make rate -> the inner optimizer; Adam as usual where nobody differentiates it."""
    plain = own.optimizer == "adam" and not differentiated
    rule = optax.adam if plain else OPTIMIZERS[own.optimizer]
    if not own.clip:
        return rule
    return lambda rate: optax.chain(clip_norm(own.clip), rule(rate))


def check_network(config: Any) -> None:
    """Refuse a network that no algorithm of the MAML family can have, or that does not fit."""
    network = config.network
    if config.own_network:
        own_network(config.own_network, 1, config.tasks.size or None)
        return
    if not isinstance(network, (Unet, InstanceUnet)):
        raise BadInput(
            f"method {type(config.method).__name__}: it needs a U-Net, not Segment Anything"
        )
    if min(network.widths, default=0) < 1:
        raise BadInput(f"`network.widths={network.widths}`: must be at least 1")
    groups = network.groups if isinstance(network, Unet) else 0
    for width in network.widths if groups else ():
        if width % min(groups, width):
            raise BadInput(
                f"`network.widths={width}`: does not split into {groups} groups; give a "
                "multiple, or other `network.groups`"
            )
    multiple = 2 ** (len(network.widths) - 1)
    if config.tasks.size % multiple:
        raise BadInput(
            f"`tasks.size={config.tasks.size}`: a network of {len(network.widths)} levels needs a "
            f"multiple of {multiple}"
        )
