"""What a user can mend: bad input, told in one line that names the thing and the fix.

And what a user is not told, for it is another package's business: `silent`.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class BadInput(ValueError):
    """The input, not the program, is at fault; entry points print it as one line and exit with
    2."""


class Occupied(BadInput):
    """A folder holds something else than what would be written there."""


class Unseen(BadInput):
    """A window shows nothing of the body in a scan: it is in other units than it is said to be."""


@contextmanager
def silent(logger: logging.Logger) -> Iterator[None]:
    """Keep a logger from saying anything for a while."""
    before, logger.disabled = logger.disabled, True
    try:
        yield
    finally:
        logger.disabled = before
