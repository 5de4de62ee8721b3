"""Options as `--help` tells them: what a field is stands below it, and is one paragraph there.

    @options
    class Reading:
        \"\"\"How files are read.\"\"\"

        fill_nan: float | Literal["refuse"] = "refuse"
        \"\"\"Value for voxels that are NaN or Inf; refuse: ...\"\"\"

An option has a word or a number of its own where nothing is chosen, never None: who reads the help
sees what happens then. A command with many options inherits them from several of these classes, and
each is a group of its help (`grouped`).
"""

import ast
import dataclasses
import functools
import sys
from pathlib import Path
from typing import Annotated, Any, TypeVar, dataclass_transform

import tyro

Kind = TypeVar("Kind", bound=type)


@dataclass_transform(frozen_default=True)
def options(kind: Kind) -> Kind:
    """Make a frozen dataclass of a class, and the texts below its own fields their help."""
    texts: dict[str, str] = {}
    for each in reversed(kind.__mro__):
        texts |= texts_below(each)
    kind.__annotations__ = {
        name: Annotated[hint, tyro.conf.arg(help=texts[name], help_behavior_hint=_default)]
        if name in texts
        else hint
        for name, hint in kind.__annotations__.items()
    }
    return dataclasses.dataclass(frozen=True)(kind)


def path_or_none(value: str | Path) -> Path | None:
    """Give the path that an option names; None for a word in its place."""
    return value if isinstance(value, Path) else None


def texts_below(kind: type) -> dict[str, str]:
    """Read the texts that stand below the fields of a class, each as one paragraph."""
    found = {}
    for node in _classes(kind.__module__).get(kind.__qualname__, ()):
        for field, after in zip(node.body, node.body[1:]):
            if isinstance(field, ast.AnnAssign) and isinstance(after, ast.Expr):
                found[field.target.id] = " ".join(str(after.value.value).split())
    return found


def grouped(kind: type) -> type:
    """Make a dataclass of `kind`'s own fields and of the classes that it inherits from, for a
    command line of which each is a group; `ungrouped` gives the way back."""
    parts = [part for part in kind.__mro__[1:] if dataclasses.is_dataclass(part)]
    hints = kind.__annotations__
    own = [field for field in dataclasses.fields(kind) if field.name in hints]
    return dataclasses.make_dataclass(
        kind.__name__,
        [(field.name, hints[field.name], _without_order(field)) for field in own]
        + [(part.__name__.lower(), tyro.conf.OmitArgPrefixes[part], part()) for part in parts],
    )


def ungrouped(kind: type, asked: Any) -> Any:
    """Put what `grouped(kind)` was filled with into `kind`."""
    values = dict(vars(asked))
    for name, value in vars(asked).items():
        if dataclasses.is_dataclass(value) and isinstance(value, kind.__mro__[1:-1]):
            values |= vars(values.pop(name))
    return kind(**values)


@functools.cache
def _classes(module: str) -> dict[str, list[ast.ClassDef]]:
    """Parse the classes at the top of a module; without its source there are no texts."""
    try:
        source = Path(sys.modules[module].__file__).read_text("utf-8")
    except (AttributeError, KeyError, TypeError, OSError):
        return {}
    found: dict[str, list[ast.ClassDef]] = {}
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            found.setdefault(node.name, []).append(node)
    return found


def _without_order(field: dataclasses.Field) -> Any:
    """Copy a field whose place among others does not matter."""
    return dataclasses.field(default=field.default, default_factory=field.default_factory)


def _default(shown: str) -> str:
    """Say what an option is where nobody names it."""
    return f"(default: {'none' if shown in ('', repr('')) else shown})"
