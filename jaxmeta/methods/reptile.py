"""Reptile: towards where the inner loop ends (Nichol et al. 2018)."""

from jaxmeta import algorithms
from jaxmeta.methods.maml import test_steps
from jaxmeta.methods.method import Method
from jaxmeta.methods.options import InnerLoop
from jaxmeta.methods.parts import check_network, inner_rule, network_and_loss, started
from jaxmeta.options import options


@options
class Reptile(InnerLoop):
    """Reptile (Nichol et al. 2018)."""


def algorithm(config, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make it."""
    own = config.method
    model, loss = network_and_loss(config, testing=testing)
    walk = dict(steps=own.steps, test_steps=own.test_steps, inner=inner_rule(own)(own.rate))
    return algorithms.reptile(started(model, begin), loss, **walk)


REPTILE = Method(
    "reptile", Reptile, algorithm, check=check_network, steps=test_steps, query_teaches=False
)
