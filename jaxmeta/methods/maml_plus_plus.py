"""MAML++: a rate for every layer and step, and a loss after every step (Antoniou et al. 2019)."""

from jaxmeta import algorithms
from jaxmeta.errors import BadInput
from jaxmeta.methods.maml import MetaSgd, rules, test_steps
from jaxmeta.methods.method import Method
from jaxmeta.methods.parts import check_network, network_and_loss, started
from jaxmeta.options import options


@options
class MamlPlusPlus(MetaSgd):
    """MAML++ (Antoniou et al. 2019)."""

    anneal: float = 0.3
    """Share of the training over which the loss after every inner step gives way to that after the
    last."""


def algorithm(config, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make it for a training of so many steps."""
    own = config.method
    model, loss = network_and_loss(config, testing=testing)
    anneal = round(own.anneal * config.steps)
    return algorithms.maml_plus_plus(
        started(model, begin), loss, **rules(own), order=own.order, anneal=anneal
    )


def check(config) -> None:
    """Refuse an inner loop without a step: each has a rate and a loss of its own."""
    check_network(config)
    if config.method.steps < 1:
        raise BadInput(f"`method.steps={config.method.steps}`: must be at least 1")


MAML_PLUS_PLUS = Method("maml++", MamlPlusPlus, algorithm, check=check, steps=test_steps)
