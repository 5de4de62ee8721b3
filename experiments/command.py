"""How every command ends: 0 means done or stopped as asked, 2 a user's mistake told in one line."""

import errno
import os
import sys
from collections.abc import Callable

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


def fail(message: str) -> None:
    """Print one line and leave."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
