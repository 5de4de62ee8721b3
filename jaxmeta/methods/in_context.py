"""In context: a network that reads the support and segments, with nothing adapted."""

from typing import Any

from jaxmeta import algorithms
from jaxmeta.errors import BadInput
from jaxmeta.methods.method import Method
from jaxmeta.methods.parts import check_network, loss_of, started
from jaxmeta.methods.testing import Testing
from jaxmeta.models.reader import reader
from jaxmeta.options import options
from jaxmeta.tasks.prompter import HEIGHTS

GROUPS = 8  # of GroupNorm, as the U-Net has


@options
class InContext:
    """In-context reader: reads the support once, adapts nothing; learns from synthetic cohorts.

    It has a network of its own; `network` is what a test fine-tunes for the rows beside it.
    """

    widths: tuple[int, ...] = (16, 32, 48, 64)
    """Channels of each level, from full resolution down; query patches of the last attend to those
    of the support."""
    heads: int = 4
    """Heads of attention."""
    rounds: int = 2
    """Rounds of attention."""


def algorithm(config: Any, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make it."""
    own = config.method
    network = reader(own.widths, heads=own.heads, rounds=own.rounds, groups=GROUPS)
    return algorithms.in_context(started(network, begin), loss_of(config))


def check(config: Any) -> None:
    """Refuse a reader that cannot be made, or does not fit the slices."""
    check_network(config)
    own, size = config.method, config.tasks.size
    for name, value in (("heads", own.heads), ("rounds", own.rounds)):
        if value < 1:
            raise BadInput(f"`method.{name}={value}`: must be at least 1")
    if min(own.widths, default=0) < 1:
        raise BadInput(f"`method.widths={own.widths}`: must be at least 1")
    for width in own.widths:
        if width % min(GROUPS, width):
            raise BadInput(f"`method.widths={width}`: must be a multiple of {GROUPS}")
    if own.widths[-1] % own.heads:
        raise BadInput(f"`method.heads={own.heads}`: does not split {own.widths[-1]} channels")
    multiple = 2 ** (len(own.widths) - 1)
    if size % multiple:
        raise BadInput(
            f"`tasks.size={size}`: {len(own.widths)} levels need a multiple of {multiple}"
        )


IN_CONTEXT = Method(
    "in-context",
    InContext,
    algorithm,
    check=check,
    gradients=lambda own: 1,
    adapts=False,
    testing=Testing(prompter=HEIGHTS),
)
