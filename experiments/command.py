"""How every command begins and ends: its words, and 0 for done or stopped as asked, 2 for a user's mistake
told in one line."""

import errno
import os
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from jaxmeta.errors import BadInput

TOLD = (  # what the disk refuses, and the user can mend
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EROFS,
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
)


Asked = TypeVar("Asked")


class Stopped(Exception):
    """The process was asked to end, and has saved what it did; the message says how to go on."""


def run(main: Callable[[], None]) -> None:
    """Call `main`; turn what a user can mend into one line on stderr and exit code 2."""
    try:
        main()
    except Stopped as stop:
        print(stop)
    except BadInput as error:
        fail(str(error))
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        if error.errno not in TOLD:
            raise
        fail(f"{error.strerror}: {error.filename or 'while writing'}")


def parse_words(
    kind: type[Asked], text: str | None, words: Sequence[str] | None = None, **how
) -> Asked:
    """Parse the words of a command, by default those that it was called with; `text` is its help.

    Raises BadInput for an option that is given twice: the later one would replace the earlier one, unsaid.
    """
    words = sys.argv[1:] if words is None else words
    names = [word.split("=")[0].replace("_", "-") for word in words if word.startswith("--")]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{name} is given twice: give it once, with all its values")
    return tyro.cli(kind, description=text, args=list(words), **how)


def fail(message: str) -> None:
    """Print one line and leave."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
