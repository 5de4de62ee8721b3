"""Configurations as files: a run's `config.json`, or one's own with some of its fields."""

import dataclasses
import json
import types
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from jaxmeta.errors import BadInput
from jaxmeta.files import Place
from jaxmeta.runs.config import TYPES, Config
from jaxmeta.runs.presets import with_method
from jaxmeta.splits.split import Split, split_from_json

FORMAT = 2  # of a run's folder: config.json, provenance.json and the tree in its checkpoints


def from_json(kind: Any, values: Any, base: Any = None) -> Any:
    """Read a value of a type back from JSON; raises BadInput for what the type does not have.

    What the names of a dataclass leave out is as in `base`, or by default.
    """
    if dataclasses.is_dataclass(kind):
        if not isinstance(values, dict):
            raise BadInput(f"{values!r} in a configuration: should be names and values")
        hints = get_type_hints(kind)
        if unknown := sorted(set(values) - set(hints)):
            raise BadInput(f"unknown configuration {unknown[0]!r}: known are {', '.join(hints)}")
        base = kind() if base is None else base
        given = {n: from_json(hints[n], value, getattr(base, n)) for n, value in values.items()}
        return dataclasses.replace(base, **given)
    if get_origin(kind) is tuple:
        if not isinstance(values, (list, tuple)):
            raise BadInput(f"{values!r} in a configuration: should be a list")
        return tuple(from_json(get_args(kind)[0], value) for value in values)
    if get_origin(kind) in (types.UnionType, Union):
        kinds = get_args(kind)
        if dataclasses.is_dataclass(kinds[0]):
            return member(kind, values, base)
        words = [word for each in kinds for word in get_args(each)]
        (other,) = (each for each in kinds if get_origin(each) is not Literal)
        return values if values in words else from_json(other, values)
    if get_origin(kind) is Literal:
        if values not in get_args(kind):
            raise BadInput(
                f"{values!r} in a configuration: known are {', '.join(map(str, get_args(kind)))}"
            )
        return values
    wanted = {Path: str, Place: str, float: (int, float)}.get(kind, kind)
    if not isinstance(values, wanted) or (isinstance(values, bool) and kind is not bool):
        raise BadInput(f"{values!r} in a configuration: should be {kind.__name__}")
    return kind(values) if kind in (Path, Place, float) else values


def read_config(path: Path) -> Config:
    """Read a configuration file: that of a run, or one's own with some of its fields."""
    values = read_json(path)
    if "config" in values:
        check_format(path, values)
    with of_file(path):
        return _config(values.get("config", values))


@contextmanager
def of_file(path: Path) -> Iterator[None]:
    """Name the file in what is said of its values."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{path}: {error}") from None


def _config(values: dict) -> Config:
    """Read a configuration; what it leaves out is as its network and its method usually have it."""
    base = Config()
    if "network" in values:
        network = member(get_type_hints(Config)["network"], values["network"], base.network)
        base = dataclasses.replace(base, network=network)
    if "method" in values:
        method = member(get_type_hints(Config)["method"], values["method"], base.method)
        base = with_method(base, method) if type(method) is not type(base.method) else base
    return from_json(Config, values, base)


def member(kind: Any, values: Any, base: Any) -> Any:
    """Read a member of a union of dataclasses, which "type" names; without, one like `base`."""
    if not isinstance(values, dict):
        raise BadInput(f"{values!r} in a configuration: should be names and values")
    known = {n: of for each in TYPES.values() for n, of in each.items() if of in get_args(kind)}
    rest = {name: value for name, value in values.items() if name != "type"}
    name = values.get("type")
    if name is not None and name not in known:
        raise BadInput(f"{name!r} in a configuration: known are {', '.join(known)}")
    of = type(base) if name is None else known[name]
    return from_json(of, rest, base if isinstance(base, of) else of())


def read_run(folder: Path) -> tuple[Config, Split]:
    """Read what a run is: its configuration and who may see what."""
    path = folder / "config.json"
    if not path.exists():
        raise BadInput(f"{folder} is not a run: it has no config.json")
    values = read_json(path)
    check_format(path, values)
    with of_file(path):
        config = dataclasses.replace(_config(values["config"]), workdir=folder)
        division = split_from_json(values["split"])
    if (
        config.origin
        and not config.origin.exists()
        and (beside := folder / config.origin.name).exists()
    ):
        config = dataclasses.replace(config, init_from=beside)  # it was moved with the run
    return config, division


def check_format(path: Path, values: dict) -> None:
    """Refuse the folder of a run that another version wrote; the first had no number."""
    found = values.get("format", 1)
    if found != FORMAT:
        raise BadInput(
            f"{path} is of a run of format {found}, and this version of jaxmeta reads format "
            f"{FORMAT}: train the run again, into another `workdir`, or go on with the version "
            "that trained it"
        )


def read_json(path: Path) -> dict:
    """Read a JSON object."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{path}: not a readable configuration ({error})") from None
