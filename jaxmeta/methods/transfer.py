"""The baselines that keep meta-learning honest: transfer learning, and learning from scratch."""

from typing import Literal

from jaxmeta import algorithms
from jaxmeta.errors import BadInput
from jaxmeta.methods.maml import test_steps
from jaxmeta.methods.method import Method
from jaxmeta.methods.networks import network_of
from jaxmeta.methods.options import Adaptation, Episodes
from jaxmeta.methods.parts import (
    check_network,
    inner_rule,
    loss_of,
    network_and_loss,
    started,
)
from jaxmeta.options import options


@options
class Transfer(Adaptation):
    """Pre-trained with one output a source structure, fine-tuned on the support."""

    test_steps: int = 100
    """Steps of fine-tuning."""
    rate: float = 3e-3
    """Rate of fine-tuning."""
    optimizer: Literal["sgd", "momentum", "adam"] = "adam"
    """Rule of fine-tuning."""


@options
class Scratch(Transfer):
    """Trained on the support alone, from random weights."""

    rate: float = 1.0
    """Rate of training."""
    optimizer: Literal["sgd", "momentum", "adam"] = "sgd"
    """Rule of training."""
    clip: float = 0.0
    """Largest norm of a gradient; longer ones are scaled down. 0: never."""


def transfer(config, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make pre-training with an output for each source structure."""
    own = config.method
    model, loss = network_and_loss(config, testing=testing)
    heads = started(network_of(config).model(config, len(config.structures)), begin)
    tune = dict(optimizer=inner_rule(own)(own.rate), steps=own.test_steps)
    return algorithms.transfer(started(model, begin), heads, loss, loss_of(config), **tune)


def scratch(config, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make what learns from the support alone."""
    own = config.method
    model, loss = network_and_loss(config, testing=testing)
    tune = dict(optimizer=inner_rule(own)(own.rate), steps=own.test_steps)
    return algorithms.scratch(model, loss, **tune)


def check_transfer(config) -> None:
    """Refuse tasks that have no output each."""
    check_network(config)
    if isinstance(config.tasks, Episodes) and config.tasks.kind != "episodes":
        raise BadInput(f"`tasks.kind={config.tasks.kind}` with transfer: they have no output each")


TRANSFER = Method(
    "transfer",
    Transfer,
    transfer,
    check=check_transfer,
    steps=test_steps,
    gradients=lambda own: 1,
    query_teaches=False,
)
SCRATCH = Method(
    "scratch",
    Scratch,
    scratch,
    check=check_network,
    steps=test_steps,
    gradients=lambda own: 1,
    from_random=True,
)
