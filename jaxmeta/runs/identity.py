"""How runs are told apart that are of one algorithm: by the settings in which they differ.

Runs that differ in their seed, their split or their folders alone are replicates of one method.
"""

from collections.abc import Sequence
from typing import Any

from jaxmeta.errors import BadInput
from jaxmeta.methods import method_of
from jaxmeta.runs import config_file
from jaxmeta.runs.config import LOOKING_ON, Config, to_json

INIT_FROM = "init_from"
HELD_OUT = {"protocol", "setting"}
# What a replicate may have of its own; who holds out what is its split's business.
OWN_SETTINGS = {*LOOKING_ON, "data", "seed", "structures", "fold"}
OWN_SETTINGS |= {"axis", "planes", "frames", "modality", "channel", "pixels", "checkpoint_every"}
OWN_SETTINGS |= {"test_organs", "val_organs", "train_organs", "test_patients", "validation_tasks"}
# and what changes no result
OWN_SETTINGS |= {"tasks.vmap", "method.memory", "method.type"}
# and what the run fills in
OWN_SETTINGS |= {"method.epoch_steps", "method.labelled_by"}


def recipe(config: Config) -> dict[str, Any]:
    """Flatten what makes a method of a configuration: dotted names and values as JSON has them."""
    values = {"algorithm": config.algorithm} | to_json(config)
    found = {name: each for name, each in flat(values).items() if name not in OWN_SETTINGS}
    for folder in map(str, method_of(config.method).stands_on(config)):
        found |= {name: "another run" for name, each in found.items() if each == folder}
    if config.origin is None:
        del found[INIT_FROM]
    else:
        found[INIT_FROM] = "another run"
        try:
            begun = recipe(config_file.read_run(config.origin)[0])
        except BadInput:  # it was moved away since
            return found
        found[INIT_FROM] = begun["algorithm"]
        found |= {f"{INIT_FROM}.{name}": value for name, value in begun.items()}
    return found


def alike(one: Config, other: Config) -> bool:
    """Tell whether two runs are of one method, whether names or a protocol said who is held out.

    A protocol has no validation organs: what is chosen for its runs is chosen on another's.
    """
    own, others = (recipe(config) for config in (one, other))
    return all(
        own.get(name) == others.get(name)
        for name in own.keys() | others.keys()
        if name not in HELD_OUT
    )


def flat(values: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Turn nested names into dotted ones."""
    found = {}
    for name, each in values.items():
        inside = isinstance(each, dict)
        found |= flat(each, f"{prefix}{name}.") if inside else {prefix + name: each}
    return found


def names(algorithms: Sequence[str], recipes: Sequence[dict[str, Any]]) -> list[str]:
    """Name every run by its algorithm, and by what it has that others of the same algorithm have
    not.

    Of two runs one may have less: its name is the shorter one.
    """
    found = []
    for algorithm, own in zip(algorithms, recipes, strict=True):
        pairs = zip(algorithms, recipes, strict=True)
        others = [each for name, each in pairs if name == algorithm and each != own]
        differing = [name for name in own if any(differs(name, own, each) for each in others)]
        words = [said(name, own) for name in differing if not is_absent(own[name])]
        found.append(" ".join([algorithm, *words]))
    return found


def differs(name: str, own: dict[str, Any], other: dict[str, Any]) -> bool:
    """Tell whether a setting is another; of what runs began with, only where it is known of
    both."""
    if name.startswith(f"{INIT_FROM}.") and f"{INIT_FROM}.algorithm" not in other:
        return False
    return other.get(name) != own[name]


def is_absent(value: Any) -> bool:
    """Tell the values that say that something is not there."""
    return value is None or value is False or value == []


def said(name: str, recipe: dict[str, Any]) -> str:
    """Write a setting by as much of its name as tells it from all others."""
    parts, value = name.split("."), recipe[name]
    endings = [".".join(parts[-n:]) for n in range(1, len(parts) + 1)]
    others = [f".{other}" for other in recipe if other != name]
    unique = (e for e in endings if not any(other.endswith(f".{e}") for other in others))
    short = next(unique, name).replace("_", "-")
    many = value if isinstance(value, list) else [value]
    return short if value is True else f"{short}={','.join(map(str, many))}"
