"""How runs are told apart that are of one algorithm: by the settings in which they differ.

Runs that differ in their seed, their split or their folders alone are replicates of one method.
"""

from collections.abc import Sequence
from typing import Any

from experiments import saved
from experiments.configs import Config
from jaxmeta.errors import BadInput
from jaxmeta.files import plain

# What a replicate may have of its own; who holds out what is its split's business.
OWN = {"data", "workdir", "seed", "track", "distributed", "structures", "axis", "every"}
OWN |= {"test_organs", "val_organs", "train_organs", "test_patients", "validation_tasks", "fold"}


def recipe(config: Config) -> dict[str, Any]:
    """Flatten what makes a method of a configuration: dotted names and values as JSON has them."""
    values = {name: each for name, each in plain(config).items() if name not in OWN}
    found = flat(values)
    if config.begin:
        try:
            begun = recipe(saved.read(config.begin)[0])
        except BadInput:  # moved away since
            return found
        del found["begin"]
        found |= {f"begin.{name}": value for name, value in begun.items()}
    return found


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested names into dotted ones."""
    found = {}
    for name, each in values.items():
        inside = isinstance(each, dict)
        found |= flat(each, f"{prefix}{name}.") if inside else {prefix + name: each}
    return found


def names(algorithms: Sequence[str], recipes: Sequence[dict[str, Any]]) -> list[str]:
    """Name every run by its algorithm, and by what it has that others of the same algorithm have not.

    Of two runs one may have less: its name is the shorter one.
    """
    found = []
    for algorithm, own in zip(algorithms, recipes, strict=True):
        pairs = zip(algorithms, recipes, strict=True)
        others = [each for name, each in pairs if name == algorithm and each != own]
        differing = dict.fromkeys(
            name for name in own if any(each.get(name) != own[name] for each in others)
        )
        words = [said(name, own[name]) for name in differing if not without(own[name])]
        found.append(" ".join([algorithm, *words]))
    return found


def without(value: Any) -> bool:
    """Tell the values that say that something is not there."""
    return value is None or value is False or value == []


def said(name: str, value: Any) -> str:
    """Write a setting as the command line has it, without its group."""
    last = name.rpartition(".")[2].replace("_", "-")
    if value is True:
        return last
    many = value if isinstance(value, list) else [value]
    words = [f"{each:g}" if isinstance(each, float) else str(each) for each in many]
    return f"{last}={','.join(words)}"
