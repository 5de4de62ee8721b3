"""Supervised learning of one organ from the patients who are labelled."""

from typing import Any

from jaxmeta import algorithms
from jaxmeta.augmentation.augment import Augmentation, upright
from jaxmeta.errors import BadInput
from jaxmeta.methods.method import Method
from jaxmeta.methods.options import Episodes, Outer, SetLoss
from jaxmeta.methods.parts import check_network, network_and_loss, started
from jaxmeta.methods.sources import eligible, shape_of
from jaxmeta.options import options
from jaxmeta.splits.pool import Pool
from jaxmeta.tasks.semi_labelled import semi_labelled
from jaxmeta.tasks.source import Source


@options
class Supervised:
    """Supervised: learns one organ (--organ) from labelled patients, and is asked about it."""

    stride: int = 1
    """Learn from every so manieth slice of a scan, 1 from all."""


def usual(tasks: Episodes) -> dict[str, Any]:
    """Give what comes with the method, on slices of the same size: 16 a step, of one organ as it
    lies in one kind of scan."""
    return dict(
        tasks=Episodes(size=tasks.size, spacing=tasks.spacing, shots=4, queries=1),
        augment=upright(Augmentation()),
        outer=Outer(),
        loss=SetLoss(),
    )


def algorithm(config: Any, begin, *, testing=False, target=None) -> algorithms.Algorithm:
    """Make it."""
    model, loss = network_and_loss(config)
    return algorithms.supervised(started(model, begin), loss)


def source(config: Any, drawn: Pool, *, training: bool = True) -> Source:
    """Draw slices of the labelled patients, with the organ and without."""
    how = shape_of(config.tasks), (), None
    return semi_labelled(eligible(config.tasks, drawn), *how, stride=config.method.stride)


def check(config: Any) -> None:
    """Refuse a network that does not fit, and tasks that are of something else."""
    check_network(config)
    check_labelled_slices(config)
    if config.method.stride < 1:
        raise BadInput(f"`method.stride={config.method.stride}`: must be at least 1")


def check_labelled_slices(config: Any) -> None:
    """Refuse tasks that are of something else than slices of the labelled, all drawn alike."""
    tasks, plain = config.tasks, Episodes()
    if not isinstance(tasks, Episodes) or tasks.kind != plain.kind:
        raise BadInput("labelled patients give slices: `tasks.kind=episodes`")
    for name in ("support_patients", "query_patients", "negative_fraction", "least_pixels"):
        if getattr(tasks, name) != getattr(plain, name):
            raise BadInput(f"`tasks.{name}` with labelled patients: all slices are drawn alike")
    if tasks.single_patients:
        raise BadInput("`tasks.single_patients` with labelled patients: one is enough")


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
