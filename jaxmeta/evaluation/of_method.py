"""What evaluation asks of a method by its name: every such question stands here.

They are what differs between methods in a test; the hooks of a method's own value will answer them.
"""

from typing import Any

from jaxmeta.errors import BadInput
from jaxmeta.evaluation.finetune import GRIDS, GRIDS_BY_SLICE, OWN, Grid, Tuned
from jaxmeta.methods import METHODS, method_of
from jaxmeta.methods.ssm_sam.method import CLICKS
from jaxmeta.runs.config import Config

RANDOM = "random initialization"  # of SSM-SAM: its frozen encoder, and nothing learned on it
OWN_STEPS, OWN_PASSES = (5, 10, 20, 40, 80), (5, 10, 20)
MOST_SLICES = 4500  # that a fine-tuning of a widened grid sees: 900 steps of 5, or 4500 of 1
MOST_PASSES = 60  # of one that goes slice by slice, with a step for each
OWN_GRID = Grid((0.3, 1.0, 3.0), (10, 20, 40))  # of SSM-SAM: multiples of its own rate
MOST_OWN = 120  # steps of its own rule


def follows_own_rule(config: Config) -> bool:
    """Tell whether all rows of a method's test walk by its own rule, and none is fine-tuned."""
    return method_of(config.method).own_rule


def by_slice(algorithm: str) -> bool:
    """Tell whether a method fine-tunes, and its upper bound is trained, slice by slice.

    A report may be of a method that is not known here: of that it is not told.
    """
    return algorithm in METHODS and METHODS[algorithm].slice_by_slice


def needs_support(config: Config) -> bool:
    """Tell whether a method must be given labelled slices before it segments anything."""
    return method_of(config.method).needs_support


def fine_tunes(config: Config) -> bool:
    """Tell whether a method ends in a network that walks down the support's loss."""
    return method_of(config.method).adapts


def from_nothing(config: Config) -> str:
    """Name the row that begins at random parameters."""
    return RANDOM if follows_own_rule(config) else "scratch"


def search_space(config: Config, shots: int) -> dict[str, Any]:
    """Say which settings a search tries for a number of slices: grids, steps of the method's own
    rule, and the most steps of a grid that is widened."""
    if follows_own_rule(config):  # at multiples of its rate, its own steps among others
        steps = tuple(sorted({*OWN_GRID.steps, config.method.test_steps}))
        return {"grids": {OWN: OWN_GRID._replace(steps=steps)}, "own_steps": (), "most": MOST_OWN}
    if by_slice(config.algorithm):  # so its baselines may, too
        return {"grids": GRIDS_BY_SLICE, "own_steps": OWN_PASSES, "most": MOST_PASSES}
    return {"grids": GRIDS, "own_steps": OWN_STEPS, "most": MOST_SLICES // shots}


def lent(found: dict[str, Tuned], theirs: Config, own: Config) -> dict[str, Tuned]:
    """Take from another method's search what its baselines found."""
    if not follows_own_rule(own):
        return {row: found[row] for row in ("scratch", "transfer") if row in found}
    if RANDOM not in found:
        return {}
    tuned, times = found[RANDOM], theirs.method.test_rate / own.method.test_rate
    rate = float(f"{tuned.finetune.rate * times:.6g}")  # it is a multiple of its method's
    return {RANDOM: tuned._replace(finetune=tuned.finetune._replace(rate=rate))}


def prompt_of(config: Config, wanted: str) -> str | None:
    """Say where the points on new slices come from; None for methods that have none."""
    if wanted != "auto":
        return wanted
    return config.method.prompt if follows_own_rule(config) else None


def clicks_of(config: Config, wanted: str) -> int:
    """Count the clicks on the truth that each slice is told."""
    return CLICKS if prompt_of(config, wanted) == "clicks" else 0


def searched_with(config: Config) -> str:
    """Tell searches apart that gave another prompt."""
    prompt = config.method.prompt if follows_own_rule(config) else None
    return "no points" if prompt == "none" else ""


def check_asked(folder, config: Config, options, *, within: bool) -> None:
    """Refuse what a method cannot be asked, and what is asked of another alone."""
    prompt = prompt_of(config, options.prompt)
    if not needs_support(config):
        raise BadInput(
            f"{folder} segments what is pointed at, and learns from no support: python -m "
            "experiments.predict, with --box or --click"
        )
    if not follows_own_rule(config):
        if options.prompt != "auto":
            raise BadInput(f"--prompt {options.prompt}: {folder} is of {config.algorithm}")
        return
    if prompt == "clicks" and not within:
        raise BadInput(
            f"{folder}: clicks lie on the truth; add --protocol within-volume, or --prompt support"
        )
    if options.baselines == "all" or options.upper_bound:
        raise BadInput(
            f"{folder}: of ssm-sam nothing is pre-trained here: the same network without "
            "meta-learning is a run with --method.steps 0"
        )
    if prompt == "clicks" and (options.tune or options.only_tune):
        raise BadInput(f"{folder}: clicks lie on the truth; search with --prompt support")
