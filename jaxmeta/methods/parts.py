"""The parts that methods are made of: losses, inner rules, a network with its loss."""

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
from jaxmeta.methods.networks import network_of
from jaxmeta.methods.options import Adaptation, Outer, SliceLoss
from jaxmeta.models import Model, begin_with

OPTIMIZERS: dict[str, Callable[[float], optax.GradientTransformation]] = {
    "sgd": optax.sgd,
    "momentum": partial(optax.sgd, momentum=0.9),
    # eps_root keeps the derivative of Adam finite where a gradient is 0
    "adam": partial(optax.adam, eps_root=1e-8),
}
MEMORY = {"plain": PLAIN, "remat": REMAT, "mixed": MIXED}


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
    model = network_of(config).model(config, 1)
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


def rate_schedule(outer: Outer, steps: int) -> optax.Schedule | float:
    """Make step -> the outer rate of a training of so many steps, or the rate if it is one."""
    steps = max(2, steps)
    warmup = min(max(1, int(outer.warmup * steps)), steps - 1) if outer.warmup > 0 else 0
    match outer.schedule, warmup > 0:
        case "cosine", True:
            return optax.warmup_cosine_decay_schedule(0.0, outer.rate, warmup, steps)
        case "cosine", False:
            return optax.cosine_decay_schedule(outer.rate, steps)
        case "harmonic", warms:
            falling = lambda step: outer.rate / (1 + 6 * step / (steps - warmup))
            rising = optax.linear_schedule(0.0, outer.rate, warmup)
            return optax.join_schedules([rising, falling], [warmup]) if warms else falling
        case _, True:
            return optax.warmup_constant_schedule(0.0, outer.rate, warmup)
    return outer.rate


def check_network(config: Any) -> None:
    """Refuse a network that no algorithm of the MAML family can have, or that does not fit."""
    network = network_of(config)
    if network.model is None:
        raise BadInput(
            f"method {type(config.method).__name__}: it needs a U-Net, or another network that "
            f"takes no prompt, not {network.name}"
        )
    if network.stateful(config):
        raise BadInput(
            f"the network {network.name} with running statistics or frozen weights: mlb-seg alone "
            "keeps them; BatchNorm is GroupNorm by `network.groups`"
        )
    network.check(config)
