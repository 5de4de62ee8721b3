"""What a method is to everything around it: one value, made in one file, listed in one line.

Commands, checkpoints and tests ask a method through these functions alone; nobody compares names.
`config` is the run's whole configuration: `config.method` are the method's own options, the other
groups (`options.py`) are shared.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxmeta.algorithms import Algorithm
from jaxmeta.learners.learner import Learner
from jaxmeta.methods.sources import few_shot_source
from jaxmeta.methods.testing import Testing
from jaxmeta.splits.pool import Pool
from jaxmeta.tasks.source import Source


class MakeAlgorithm(Protocol):
    """Make the algorithm of a configuration.

    `begin` are variables that the network begins with, or None; `testing` asks for what predicts,
    with the changes of the support that `augment` asks for; `target` are slices of organs under
    test, for methods that look at them.
    """

    def __call__(self, config: Any, begin: PyTree, *, testing: bool, target: Any) -> Algorithm: ...


class MakeLearner(Protocol):
    """Make the learner of a configuration that does not learn from tasks apart from each other.

    `begin` are variables that the network begins with, or None; `augment` changes one task; of a
    `mesh` every device has the whole batch, and may see a share of its images.
    """

    def __call__(
        self, config: Any, begin: PyTree, augment: Callable | None, mesh: Mesh | None
    ) -> Learner: ...


class FrozenPart(NamedTuple):
    """What of a slice no training changes, so that it can be computed once and kept."""

    made_of: dict[str, Any]  # what tells it from that of another network
    encode: Callable[[PyTree, Any], dict[str, Any]]  # (frozen weights, slices) -> named arrays


class Method(NamedTuple):
    """A way of learning: `name`, `options` and `algorithm` or `learner` must be given.

    Two defaults ask something of the options: `gradients` reads their `steps`, and of a method that
    `adapts` a search replaces their `test_steps` (`Adaptation` and `InnerLoop` of `options.py` have
    them).
    """

    name: str
    options: type  # its frozen dataclass: only the options that it has
    algorithm: MakeAlgorithm | None = None  # of what learns from few-shot tasks
    learner: MakeLearner | None = None  # of what learns otherwise
    source: Callable[..., Source] = few_shot_source  # (config, pool, training=) -> tasks
    check: Callable[[Any], None] = lambda config: None  # raises BadInput for what cannot be
    steps: Callable[[Any], int] = lambda own: 0  # inner steps at test time
    gradients: Callable[[Any], int] = lambda own: own.steps  # of a support slice in a meta-step
    query_teaches: bool = True  # False: it learns from the support alone, and watches the query
    adapts: bool = True  # ends in a network that walks down the support's loss
    needs_support: bool = True  # False: it has learned all it can before it is tested
    by_labels: bool = False  # learns one organ from labelled patients, and is tested on others
    pointed_at: bool = False  # segments what is clicked or boxed, and nothing else
    chunks: bool = False  # learns from chunks of neighboring slices, and from no other tasks
    own_loss: bool = False  # has a loss of its own, and can have no other
    own_step: bool = False  # SGD with a momentum of its own, after which weights decay
    slice_by_slice: bool = False  # its steps see one slice each, so its baselines may too
    from_random: bool = False  # it begins at random, for every support anew
    shares_images: Callable[[Any], bool] = lambda config: False  # devices do, of its one batch
    settle: Callable[[Any, Pool], Any] = lambda config, drawn: config  # fill in what data decide
    first: Callable[[Any], Any] | None = None  # (config) -> that of what is trained before, if any
    stands_on: Callable[[Any], tuple[Path, ...]] = lambda config: ()  # other runs that gave labels
    told: Callable[[dict], str] = lambda metrics: ""  # what a training's last step calls for saying
    target_slices: Callable[[Any], int] = lambda config: 0  # under test, seen in training: a leak
    frozen: Callable[[PyTree], PyTree] | None = None  # of init_from, what no checkpoint holds
    frozen_part: Callable[[Any], FrozenPart] | None = None  # (config): for a feature cache
    footnote: Callable[[Any], str] = lambda config: ""  # what its scores stand on
    validated_by: Callable[[Any], str] = lambda config: ""  # what a validation knows of the truth
    testing: Testing = Testing()
