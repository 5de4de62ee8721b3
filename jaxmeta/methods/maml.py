"""MAML and its kin: first and second order, learned rates, a part of the network."""

from typing import Any, Literal

from jaxmeta import algorithms
from jaxmeta.methods.method import Method
from jaxmeta.methods.options import Differentiated
from jaxmeta.methods.parts import MEMORY, check_network, inner_rule, network_and_loss, started
from jaxmeta.options import options

Memory = Literal["plain", "remat", "mixed"]


@options
class Maml(Differentiated):
    """MAML of second order (Finn et al. 2017): differentiates through the inner loop."""

    memory: Memory = "remat"
    """Second order keeps the convolutions of every step (plain), or of none: it recomputes steps
    (remat), or goes back by Hessian-vector products (mixed)."""


@options
class Fomaml(Differentiated):
    """First-order MAML: inner updates are held fixed when differentiating."""


@options
class MetaSgd(Differentiated):
    """MAML that learns a rate for every parameter (Li et al. 2017)."""

    order: Literal[1, 2] = 1
    """1 holds inner updates fixed when differentiating, 2 differentiates through them."""
    memory: Memory = "remat"
    """Second order keeps the convolutions of every step (plain), or of none: it recomputes steps
    (remat), or goes back by Hessian-vector products (mixed)."""


@options
class Anil(MetaSgd):
    """MAML whose inner loop moves head and last level alone (ANIL, Raghu et al. 2020)."""

    trainable: tuple[str, ...] = ("up_0", "head")
    """What the inner loop moves, as head or up_0/conv_1; without a name, every parameter."""


def rules(own: Differentiated) -> dict[str, Any]:
    """Gather the arguments that all of them share."""
    return dict(
        steps=own.steps,
        test_steps=own.test_steps,
        rate=own.rate,
        inner=inner_rule(own)(1.0),
        decay=own.decay,
        trainable=own.trainable,
        memory=MEMORY[getattr(own, "memory", "remat")],
    )


def algorithm(config, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make any of them."""
    own = config.method
    model, loss = network_and_loss(config, testing=testing)
    order = {Maml: 2, Fomaml: 1}.get(type(own)) or own.order
    learned = type(own) is MetaSgd
    return algorithms.maml(
        started(model, begin), loss, **rules(own), order=order, learn_rate=learned
    )


def test_steps(own) -> int:
    """Give the inner steps at test time."""
    return own.test_steps


HOW = dict(algorithm=algorithm, check=check_network, steps=test_steps)
MAML = Method("maml", Maml, **HOW)
FOMAML = Method("fomaml", Fomaml, **HOW)
ANIL = Method("anil", Anil, **HOW)
META_SGD = Method("meta-sgd", MetaSgd, **HOW)
