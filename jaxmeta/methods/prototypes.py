"""Prototypes: features in which a structure is near its own mean (Snell et al. 2017)."""

from jaxmeta import algorithms
from jaxmeta.methods.method import Method
from jaxmeta.methods.networks import network_of
from jaxmeta.methods.parts import check_network, loss_of, started
from jaxmeta.models.informed import rule_logit
from jaxmeta.options import options


@options
class Prototypes:
    """Prototypical network for pixels (Snell et al. 2017): learns features, adapts nothing."""

    features: int = 16
    """Channels that describe a pixel."""
    scale: float = 20.0
    """Factor from cosines to logits."""


def algorithm(config, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make it."""
    own = config.method
    features = started(network_of(config).model(config, own.features, features=True), begin)
    known = dict(begin=rule_logit) if network_of(config).prompter(config) else {}
    return algorithms.prototypes(features, loss_of(config), scale=own.scale, **known)


PROTOTYPES = Method(
    "prototypes",
    Prototypes,
    algorithm,
    check=check_network,
    gradients=lambda own: 1,
    adapts=False,
)
