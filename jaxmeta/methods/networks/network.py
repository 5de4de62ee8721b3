"""What a network is to everything around it: one value, made in one file, listed in one line.

Methods, presets and tests ask a network through these fields alone; nobody asks for its class.
`config` is the run's whole configuration: `config.network` are the network's own options.
"""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from jaxtyping import PyTree

from jaxmeta.models import Model
from jaxmeta.tasks.prompter import Prompter


class MakeModel(Protocol):
    """Make a configuration's network with so many outputs, for slices of `config.tasks.size`.

    Outputs are logits, or, where `features` are asked for, describe pixels: then they begin at
    nothing.
    """

    def __call__(self, config: Any, outputs: int, *, features: bool = False) -> Model: ...


class Network(NamedTuple):
    """A network that a run can have. Only `name`, `options` and `model` must be given."""

    name: str  # in config.json, under "type"
    options: type  # its frozen dataclass, `network` of a configuration
    model: MakeModel | None  # None: it segments what is pointed at, and its own methods make it
    check: Callable[[Any], None] = lambda config: None  # raises BadInput for what cannot be
    # (config, read) -> what a run begins with; `read()` gives what `config.init_from` has learned
    begin: Callable[[Any, Callable[[], PyTree]], PyTree] = lambda config, read: read()
    transfer_rate: float = 6e-3  # outer, of pre-training: chosen on validation organs, RESULTS.md
    # (config) -> what makes the prompts of slices, or None
    prompter: Callable[[Any], Prompter | None] = lambda config: None
    # (config) -> what state its model has: "running" statistics, "frozen" weights, "" for none
    stateful: Callable[[Any], str] = lambda config: ""
    shipped: bool = False  # the settings of scratch that ship were chosen on it
