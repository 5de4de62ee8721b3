"""Segment Anything: segments what is pointed at (Kirillov et al. 2023)."""

from typing import Any

from jaxmeta import algorithms
from jaxmeta.methods.method import Method
from jaxmeta.methods.networks.segment_anything import check_sam, size_of
from jaxmeta.methods.sources import few_shot_source
from jaxmeta.models.sam import sam
from jaxmeta.options import options
from jaxmeta.splits.pool import Pool
from jaxmeta.tasks.source import Source, boxed


@options
class Promptable:
    """Segment Anything: learns to segment what is clicked or boxed."""


def algorithm(config: Any, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make what learns the whole network, from the variables that it begins with, if any."""
    network = sam(size_of(config))
    if begin:  # the whole of it
        network = network._replace(init=lambda key: begin)
    return algorithms.promptable(network)


def source(config: Any, drawn: Pool, *, training: bool = True) -> Source:
    """Draw episodes, whose query slices are boxed in validation."""
    made = few_shot_source(config, drawn, training=training)
    return made if training else boxed(made)


def check(config: Any) -> None:
    """Refuse what it cannot be made of."""
    check_sam(config)
    if config.tasks.size:
        size_of(config)


SAM = Method(
    "sam",
    Promptable,
    algorithm,
    source=source,
    check=check,
    gradients=lambda own: 1,
    query_teaches=False,
    adapts=False,
    needs_support=False,
    pointed_at=True,
    own_loss=True,
    validated_by=lambda config: ", each slice told the box around its truth",
)
