"""How things are called: files, numbers of things, and the names that users and data sets give."""

import re
from collections.abc import Sequence
from pathlib import Path


def amount(number: int, what: str) -> str:
    """Word a number of things: 1 volume, 2 volumes."""
    return f"{number} {what}{'s' * (number != 1)}"


def slug(name: str) -> str:
    """Spell a name the one way it is spelled inside: lower case, underscores for blanks."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def three(files: Sequence[Path], folder: Path) -> str:
    """Name three files of a folder, and how many more there are."""
    more = f" and {len(files) - 3} more" if len(files) > 3 else ""
    return ", ".join(str(file.relative_to(folder)) for file in files[:3]) + more
