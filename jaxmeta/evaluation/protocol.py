"""How a test asks, as a value: each protocol of evaluation is one file in `protocols/`.

A protocol says what is asked of a run about each organ (`trials`), what counts (`score`), and how a
report tells it (`describe`). What of this a test's options may say is in `Request`.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple

from jaxmeta.data.shards.shards import Shards
from jaxmeta.methods import Method, method_of
from jaxmeta.runs.config import Config, TaskOptions
from jaxmeta.runs.protocol import trained_by
from jaxmeta.splits.alpnet import AlpnetFold
from jaxmeta.splits.pool import Pool


class Conditions(NamedTuple):
    """What a test, and so a search of its settings, settles beside the number of slices."""

    patients: int = 1  # who give the slices of a support
    largest_component: bool = False  # all that is kept of each mask
    neighbors: int | None = None  # of how many slices one is labelled, within volumes


class Request(NamedTuple):
    """What trials are made for: what a protocol must know of the run, and what the options of a
    test say."""

    tasks: TaskOptions  # that the run learned: how it sees slices, and which of them count
    method: Method
    shots: int = 1
    conditions: Conditions = Conditions()
    support_sets: int | None = None  # of each organ; None: as many as the protocol has
    seed: int = 0  # samples the supports
    most: int | None = None  # limits the query volumes of each organ, for searches
    literature: Callable[[Shards], AlpnetFold | None] = lambda shards: None  # it was trained by
    shared_patients: bool = False  # the run was trained on slices of who gives the support

    @property
    def read(self) -> dict[str, Any]:
        """Say at which size and spacing the run sees slices."""
        return {"size": self.tasks.size, "mm": self.tasks.mm}


def request_of(config: Config, shots: int = 1, **asked: Any) -> Request:
    """Make the request of a test of the run that this configuration is of."""
    return Request(
        config.tasks,
        method_of(config.method),
        shots,
        literature=partial(trained_by, config),
        shared_patients="shared-patients" in config.allow_leak,
        **asked,
    )


class Description(NamedTuple):
    """What the line of a report says of a protocol.

    Each text is read as clauses parted by "; ". Where several tests are told together,
    `reports/run.py` says a clause once; where clauses differ behind a ": " alone, what stands
    before it is said once, and then what each test has, parted by " | ".
    """

    asked: str  # which supports there are, and who gives them
    scored: str  # what counts, and how distances are measured


class Protocol(NamedTuple):
    """How a test asks: what, of whom, and what counts.

    `trials(pool, request)` gives what is asked about each organ of a pool; `score(segmenters,
    trial, seed=, measured=)` yields each score with its query and its mask; `describe(pool, trials,
    request, distances)` tells it, `distances` being how they are measured. The report goes to
    `folder`: one of its own where a run may be tested by another protocol too.
    """

    name: str
    about: str  # for the help of the option that chooses one
    fixed: tuple[str, ...]  # options that it settles, which may not be given beside it
    trials: Callable[[Pool, Request], Sequence]
    score: Callable[..., Iterator[tuple]]
    describe: Callable[[Pool, Sequence, Request, str], Description]
    folder: str = "report"  # of a run, where the report goes
