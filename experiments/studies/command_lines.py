"""What the commands take, asked of the commands themselves: each is called until it parses its
words, and no further.

For the reference of the documentation, and for the test that what is quoted there parses.
"""

import contextlib
import functools
import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import tyro

from jaxmeta.commands.main import COMMANDS
from jaxmeta.parallel import devices

FOLDER = Path(__file__).resolve().parents[1]


class Parsed(BaseException):
    """A command has come to its words: nothing behind that is done."""


class Asked(NamedTuple):
    """How a command parses its words."""

    kind: Any  # a dataclass, or functions by the names of subcommands
    text: str | None
    default: Any = None


def modules() -> dict[str, str]:
    """Name every command, as one types it behind `python -m`, with the module of its `main`."""
    found = {}
    for path in sorted([*FOLDER.glob("*.py"), *FOLDER.glob("studies/*.py")]):
        if "\nif __name__ ==" in path.read_text("utf-8"):
            name = ".".join(path.relative_to(FOLDER.parent).with_suffix("").parts)
            found[name] = importlib.import_module(name).main.__module__
    return found


def installed(module: str) -> str | None:
    """Name a command as the installed `jaxmeta` has it."""
    names = {f"jaxmeta.commands.{name.replace('-', '_')}": name for name in COMMANDS}
    return f"jaxmeta {names[module]}" if module in names else None


def asked(module: str, words: Sequence[str] = ()) -> Asked:
    """Ask a command how it parses: its dataclass, what it says of itself, and where it begins."""
    seen: list[Asked] = []

    def cli(kind, *, description=None, default=None, **_):
        kind = getattr(kind, "__origin__", kind)  # without what tyro is told of it
        seen.append(Asked(kind, description, default))
        raise Parsed

    def subcommands(functions, *, description=None, **_):
        seen.append(Asked(functions, description))
        raise Parsed

    def presets(configs: Mapping, *, description=None, **_):
        seen.append(Asked(dict, description, configs))
        raise Parsed

    call(module, words, cli, subcommands, presets)
    return seen[-1]


def parse(module: str, words: Sequence[str]) -> None:
    """Let a command parse words with its own parser; leave by SystemExit where it refuses them."""

    def stopping(function: Callable) -> Callable:
        def parsed(*arguments, **how):
            function(*arguments, **how)
            raise Parsed

        return parsed

    cli = stopping(tyro.cli)
    presets = stopping(tyro.extras.overridable_config_cli)
    from_dict = stopping(tyro.extras.subcommand_cli_from_dict)

    def subcommands(functions, **how):
        from_dict({name: deaf(function) for name, function in functions.items()}, **how)

    call(module, words, cli, subcommands, presets)


def deaf(function: Callable) -> Callable:
    """Make a function that takes the same words and does nothing."""
    return functools.wraps(function)(lambda *_, **__: None)


def call(module: str, words: Sequence[str], cli, subcommands, presets) -> None:
    """Call a command with other parsers in place of tyro's, until one of them leaves."""
    main = importlib.import_module(module).main
    with (
        mock.patch.object(tyro, "cli", cli),
        mock.patch.object(tyro.extras, "subcommand_cli_from_dict", subcommands),
        mock.patch.object(tyro.extras, "overridable_config_cli", presets),
        mock.patch.object(devices, "split_processor", lambda: None),
        mock.patch.object(sys, "argv", [module, *words]),
        contextlib.suppress(Parsed),
    ):
        main()
        raise AssertionError(f"{module} ended without parsing its words")
