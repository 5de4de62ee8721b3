"""Which channel of a volume is meant: by number, or by the name that its data set declares.

A NIfTI file may hold several channels of one patient behind its three axes: as a fourth axis
(Medical Decathlon), or as a fifth behind a fourth of length one (ITK). One channel is read, and it
is the user who says which: none is more right than another.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from jaxmeta.data.names import slug
from jaxmeta.errors import BadInput


def channel_count(shape: Sequence[int]) -> int:
    """Count the channels of an array that has three axes of space."""
    return math.prod(shape[3:])


def names_of(count: int, declared: Sequence[str]) -> tuple[str, ...]:
    """Give the declared names if they are one a channel and differ, else none."""
    apart = len({slug(name) for name in declared})
    return tuple(declared) if count == len(declared) == apart else ()


def channel_number(word: str, count: int, declared: Sequence[str], path: str | Path) -> int:
    """Give the number of the channel that a user calls by name or by number."""
    names = names_of(count, declared)
    slugs = [slug(name) for name in names]
    if slug(word) in slugs:
        return slugs.index(slug(word))
    if word.isdecimal() and int(word) < count:
        return int(word)
    if count == 1:
        only = f"only {names[0]}" if names else "it is one 3-D volume"
        raise BadInput(
            f"{path}: has no channel {word}, {only}; give PATTERN={word} for the files that have it"
        )
    raise BadInput(f"{path}: has no channel {word}; choose with {choices(count, declared)}")


def choices(count: int, declared: Sequence[str]) -> str:
    """Tell what `channel` may be."""
    names = names_of(count, declared)
    numbers = "0 or 1" if count == 2 else f"0 to {count - 1}"
    return f"`channel` {', '.join(names)} or {numbers}" if names else f"`channel` {numbers}"


def chosen(
    shape: Sequence[int], channel: int | None, declared: Sequence[str], path: str | Path
) -> int:
    """Check the choice for a file of this shape; of one channel there is no choice to make."""
    count = channel_count(shape)
    if channel is not None:
        return channel_number(str(channel), count, (), path)
    if count > 1:
        raise BadInput(f"{path}: holds {count} channels; choose with {choices(count, declared)}")
    return 0
