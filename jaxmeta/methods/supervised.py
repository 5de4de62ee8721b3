"""Supervised learning of one organ from the patients who are labelled."""

from typing import Any

from jaxmeta import algorithms
from jaxmeta.errors import BadInput
from jaxmeta.methods.method import Method
from jaxmeta.methods.options import Episodes
from jaxmeta.methods.parts import check_network, network_and_loss, started
from jaxmeta.methods.sources import eligible, shape_of
from jaxmeta.options import options
from jaxmeta.splits.pool import Pool
from jaxmeta.tasks.semi_labelled import semi_labelled
from jaxmeta.tasks.source import Source


@options
class Supervised:
    """Supervised: learns one organ (--organ) from labelled patients, and is asked about it."""


def algorithm(config: Any, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make it."""
    model, loss = network_and_loss(config)
    return algorithms.supervised(started(model, begin), loss)


def source(config: Any, drawn: Pool, *, training: bool = True) -> Source:
    """Draw slices of the labelled patients, with the organ and without."""
    return semi_labelled(eligible(config.tasks, drawn), shape_of(config.tasks), (), None)


def check(config: Any) -> None:
    """Refuse a network that does not fit, and tasks that are of something else."""
    check_network(config)
    tasks, usual = config.tasks, Episodes()
    if not isinstance(tasks, Episodes) or tasks.kind != usual.kind:
        raise BadInput("supervised learning takes slices of the labelled: `tasks.kind=episodes`")
    for name in ("support_patients", "query_patients", "negative_fraction"):
        if getattr(tasks, name) != getattr(usual, name):
            raise BadInput(f"`tasks.{name}` with supervised learning: all slices are drawn alike")


SUPERVISED = Method(
    "supervised",
    Supervised,
    algorithm,
    source=source,
    check=check,
    gradients=lambda own: 1,
    adapts=False,
    needs_support=False,
    by_labels=True,
    query_teaches=False,
)
