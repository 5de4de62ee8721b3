"""How every command ends: 0 means the work is done, 2 a user's mistake told in one line."""

import errno
import os
import sys
from collections.abc import Callable

from jaxmeta.errors import BadInput


def run(main: Callable[[], None]) -> None:
    """Call `main`; turn what a user can mend into one line on stderr and exit code 2."""
    try:
        main()
    except BadInput as error:
        fail(str(error))
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EACCES, errno.ENOENT, errno.EROFS, errno.EDQUOT):
            raise
        fail(f"{error.strerror}: {error.filename or 'while writing'}")
    except BrokenPipeError:
        os._exit(0)


def fail(message: str) -> None:
    """Print one line and leave."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
