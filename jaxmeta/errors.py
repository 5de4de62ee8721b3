"""What a user can mend: bad input, told in one line that names the thing and the fix."""


class BadInput(ValueError):
    """The input, not the program, is at fault; entry points print it as one line and exit with 2."""


class Occupied(BadInput):
    """A folder holds something else than what would be written there."""
