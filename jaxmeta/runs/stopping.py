"""Stopping from outside: a signal is remembered until the work can end well."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from jaxmeta.progress import say


@contextmanager
def stop_signal() -> Iterator[list[int]]:
    """Catch SIGTERM and SIGINT for a while: the list is no longer empty once one has come.

    A second Ctrl-C interrupts at once: somebody does not want to wait for the checkpoint.
    """
    caught: list[int] = []

    def catch(number: int, frame) -> None:
        if number == signal.SIGINT and number in caught:
            raise KeyboardInterrupt
        caught.append(number)
        say(
            "stopping behind the step, or what is compiled now; Ctrl-C again stops at once",
            sys.stderr,
        )

    before = {n: signal.signal(n, catch) for n in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield caught
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
