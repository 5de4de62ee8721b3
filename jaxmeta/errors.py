"""What a user can mend: bad input, told in one line that names the thing and the fix.

And what a user is not told, for it is another package's business: `silent`.
"""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager


class BadInput(ValueError):
    """The input, not the program, is at fault; entry points print it as one line and exit with
    2."""


class Occupied(BadInput):
    """A folder holds something else than what would be written there."""


class Unseen(BadInput):
    """A window shows nothing of the body in a scan: it is in other units than it is said to be."""


class Stopped(Exception):
    """The process was asked to end, and has saved what it did; the message says how to go on.

    It is not done, so the exit code is no 0: who waits for it, a script or a queue, must not go on
    to what comes after.
    """

    def __init__(self, message: str, by: int = signal.SIGTERM):
        super().__init__(message)
        self.by = by  # the signal


@contextmanager
def silent(logger: logging.Logger) -> Iterator[None]:
    """Keep a logger from saying anything for a while."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
