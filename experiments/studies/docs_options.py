"""The reference of options: those of the dataclasses that the commands parse, in tables."""

import dataclasses
import importlib
import inspect
import os
import re
import types
import typing
from collections.abc import Iterator
from typing import Any, NamedTuple

import tyro

from experiments.studies import command_lines
from experiments.studies.docs_api import sentence
from jaxmeta.commands.command import spelled
from jaxmeta.runs.presets import PRESETS

SILENT = "experiments.studies.docs"  # which takes no words


class Option(NamedTuple):
    """One option of a command."""

    name: str  # as it is typed
    takes: str
    default: str
    text: str
    group: str = ""  # of the help


def options_page() -> str:
    """Write every option of every command."""
    parts = [
        "# Options\n",
        "`--help` of each command says the same. `needed`: there is no default. What takes "
        "`yes` or `no` is typed `--x` or `--no-x`. A preset has its method's options alone. A "
        "point in a name is a part of the configuration, as in `--tasks.shots 5`.\n",
    ]
    for name, home in command_lines.modules().items():
        if home == SILENT:  # which takes no words
            continue
        asked = command_lines.asked(home)
        short = command_lines.installed(home)
        parts.append(f"## {name.removeprefix('experiments.')}\n")
        parts.append(f"`python -m {name}`" + (f", installed `{short}`" if short else "") + "\n")
        parts.append(sentence(module(home).__doc__) + "\n")
        if isinstance(asked.kind, dict):
            for title, function in asked.kind.items():
                parts += [f"### {name.rpartition('.')[2]} {title}\n", *of_function(function)]
            continue
        first = flat(asked.kind, asked.default)
        for group in dict.fromkeys(option.group for option in first):
            if group:
                parts.append(f"### {group}\n")
            parts.append(table([option for option in first if option.group == group]))
        if isinstance(asked.default, asked.kind):
            parts += beginnings(home, asked)
    return "\n".join(parts)


def module(name: str) -> types.ModuleType:
    """Find a command's module."""
    return importlib.import_module(name)


def beginnings(home: str, asked: command_lines.Asked) -> Iterator[str]:
    """Write where each preset begins otherwise than the first, and what options only it has."""
    usual = {option.name: option.default for option in flat(asked.kind, asked.default)}

    def differs(*words: str) -> tuple[str, str]:
        own = command_lines.asked(home, words)
        new = [
            option
            for option in flat(own.kind, own.default)
            if usual.get(option.name) != option.default
        ]
        sets = ", ".join(f"`{o.name} {o.default}`" for o in new)
        has = {option.name for option in flat(own.kind, own.default)}
        return sets or "nothing", ", ".join(f"`{name}`" for name in usual if name not in has)

    yield "### Presets\n"
    texts = {name: cell(spelled(preset.text)) for name, preset in PRESETS.items()}
    rows = [(f"`{name}`", text, *differs(name)) for name, text in texts.items()]
    yield grid(("preset", "what it is", "sets otherwise than the first", "has no"), rows)
    known = set(usual)
    for name in PRESETS:
        own = command_lines.asked(home, [name])
        new = [option for option in flat(own.kind, own.default) if option.name not in known]
        known |= {option.name for option in new}
        if new:
            yield f"### Options of {name} that none above has\n"
            yield table(new)


def flat(kind: type, default: Any = None, prefix: str = "--", group: str = "") -> list[Option]:
    """List the options of a dataclass and of those in it, in their order; `default` is an instance
    to begin with."""
    hints = typing.get_type_hints(kind, include_extras=True)
    own, nested = [], []
    for field in dataclasses.fields(kind):
        hint = hints[field.name]
        marks = getattr(hint, "__metadata__", ())
        if tyro.conf.Suppress in marks:
            continue
        value = getattr(default, field.name) if default is not None else first_of(field)
        name = prefix + field.name.replace("_", "-")
        if dataclasses.is_dataclass(value):
            alone = tyro.conf.OmitArgPrefixes in marks
            below = (prefix, type(value).__doc__) if alone else (name + ".", name + ".\\*")
            nested += flat(type(value), value, *below)
            continue
        if tyro.conf.Positional in marks:
            name = field.name.upper()
        text = "".join(mark.help for mark in marks if getattr(mark, "help", None))
        own.append(Option(name, takes(hint), shown(value), text, group))
    return own + nested


def first_of(field: dataclasses.Field) -> Any:
    """Give a field's default."""
    if field.default_factory is not dataclasses.MISSING:
        return field.default_factory()
    return field.default


def of_function(function) -> Iterator[str]:
    """Write the options of a subcommand that is a function."""
    text, _, listed = inspect.getdoc(function).partition("Args:")
    texts = dict(re.findall(r"^ +(\w+): ((?:.|\n(?! +\w+: ))+)", listed, re.MULTILINE))
    hints = typing.get_type_hints(function, include_extras=True)
    yield sentence(text) + "\n"
    yield table(
        [
            Option(
                "--" + name.replace("_", "-"),
                takes(hints[name]),
                shown(
                    dataclasses.MISSING
                    if parameter.default is parameter.empty
                    else parameter.default
                ),
                " ".join(texts.get(name, "").split()),
            )
            for name, parameter in inspect.signature(function).parameters.items()
        ]
    )


def takes(hint: Any) -> str:
    """Say in words what may follow an option."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is typing.Annotated:
        return takes(inner[0])
    if origin is typing.Literal:
        return ", ".join(f"`{value}`" for value in inner)
    if origin in (typing.Union, types.UnionType):
        return ", ".join(takes(each) for each in inner if each is not type(None))
    if origin is tuple:
        each = ", ".join(takes(one) for one in inner if one is not Ellipsis)
        return f"{each} ..." if Ellipsis in inner else each
    words = {bool: "yes, no", int: "whole number", float: "number", str: "text"}
    if inspect.isclass(hint) and issubclass(hint, os.PathLike):
        return "path"
    return words.get(hint, getattr(hint, "__name__", str(hint)))


def shown(value: Any) -> str:
    """Write a default as it is typed."""
    if value is dataclasses.MISSING:
        return "needed"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(shown, value)) or "none"
    return str(value)


def table(options: list[Option]) -> str:
    """Write a table of options."""
    rows = [(f"`{o.name}`", cell(o.takes), cell(o.default), cell(o.text)) for o in options]
    return grid(("option", "takes", "default", "what it does"), rows)


def grid(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Write a Markdown table."""
    lines = [head, ("---",) * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


def cell(text: str) -> str:
    """Write text so that it stays in its cell."""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*")
