"""What a user can mend: bad input, told in one line that names the thing and the fix."""


class BadInput(ValueError):
    """The input, not the program, is at fault; entry points print it as one line and exit with 2."""


class Occupied(BadInput):
    """A folder holds something else than what would be written there."""


class Unseen(BadInput):
    """A window shows nothing of the body in a scan: it is in other units than it is said to be."""
