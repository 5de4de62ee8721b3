"""How a method is tested: which settings a search tries for it, and what a test may ask of it.

`Testing` is a field of `Method`. Its defaults hold for what ends in a network that is fine-tuned on
the support; a method that goes its own way fills in what differs, in its own file.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxmeta.tasks.prompter import Prompter


class Grid(NamedTuple):
    """Ascending rates and ascending numbers of steps of one optimizer."""

    rates: tuple[float, ...]
    steps: tuple[int, ...]


Grids = Mapping[str, Grid]  # by optimizer

OWN = "own"  # the method's own inner rule, with its own (learned) rates
BY_SLICE = "adam by slice"
GRIDS = {
    "sgd": Grid((0.03, 0.1, 0.3, 1.0), (20, 100, 300)),
    "adam": Grid((1e-3, 3e-3, 1e-2, 3e-2), (20, 100, 300)),
}
GRIDS_BY_SLICE = {BY_SLICE: Grid((1e-3, 3e-3, 1e-2, 3e-2), (5, 20))}
OWN_STEPS, OWN_PASSES = (5, 10, 20, 40, 80), (5, 10, 20)
MOST_SLICES = 4500  # that a fine-tuning of a widened grid sees: 900 steps of 5, or 4500 of 1
MOST_PASSES = 60  # of one that goes slice by slice, with a step for each


class SearchSpace(NamedTuple):
    """What a search of settings tries: the same grids for every row, and for the method its own
    rule."""

    grids: Grids
    own_steps: tuple[int, ...]  # of the method's own rule, where it competes with the grids
    most: int  # steps of a grid that is widened


def batch_space(own: Any, shots: int) -> SearchSpace:
    """Try steps that see the whole support."""
    return SearchSpace(GRIDS, OWN_STEPS, MOST_SLICES // shots)


def slice_space(own: Any, shots: int) -> SearchSpace:
    """Try passes over the support, a slice a step, for a method whose own rule goes so."""
    return SearchSpace(GRIDS_BY_SLICE, OWN_PASSES, MOST_PASSES)


class OwnRule(NamedTuple):
    """What all rows of a method's test walk by, where none of them is fine-tuned.

    Settings are multiples of the rate that the method's options have.
    """

    random_row: str  # the name of the row that begins at random parameters
    random_note: str  # of it, for the report
    rate: Callable[[Any], float]  # of the method's options
    at_rate: Callable[[Any, Any], Any]  # (options, rate) -> the options with another rate


class Asked(NamedTuple):
    """What the options of a test ask, as far as a method may have no answer."""

    within: bool = False  # about neighbors of a labelled slice in the same volume
    pretrained: bool = False  # for rows of a network that is trained besides
    tunes: bool = False  # for a search of settings


class Testing(NamedTuple):
    """What a test does with a method; `own` are the method's options."""

    search_space: Callable[[Any, int], SearchSpace] = batch_space  # (own, shots)
    own_rule: OwnRule | None = None  # None: rows are fine-tuned, and the random one is "scratch"
    prompted: Callable[[Any, str], Any] | None = None  # (own, prompt) -> own with other prompts
    clicks: Callable[[Any], int] = lambda own: 0  # on its truth that each new slice is told
    searched_as: Callable[[Any], str] = lambda own: ""  # part of a search's name: its prompts
    check: Callable[[str, Any, Asked], None] = lambda run, own, asked: None  # raises BadInput
    prompter: Prompter | None = None  # what slices are given besides, whatever the network
    few: int | None = None  # support slices that a prediction takes unless told otherwise
