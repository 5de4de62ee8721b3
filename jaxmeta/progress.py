"""How far long work is: a bar in a terminal, elsewhere a line a minute, so that no log is silent.

`following` gives what the work calls whenever it is a step further. Lines do not wait for that
call: a thread of their own writes them, so that a compilation, or one adaptation of ten minutes, is
heard of too.
"""

import math
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TextIO

from tqdm import tqdm

MINUTE = 60.0
# Measured with the presets' networks; what was compiled in the same folder before is kept there.
SLOW = {"cpu": "1 to 5 minutes on a CPU"}
# How a line is spelled that names parameters as Python has them: a command spells its options.
SPELLING: ContextVar[Callable[[str], str]] = ContextVar("SPELLING", default=str)


@dataclass
class Progress:
    """How far the work is: the work writes it, and a thread reads what it wrote last."""

    what: str
    unit: str
    total: int | None
    start: int  # what an earlier process did, which took none of this time
    began: float
    done: int
    note: str = ""

    def line(self, now: float) -> str:
        """Write what is done, what each part took on average, what is left, and what is at work."""
        spent, made = now - self.began, self.done - self.start
        of = "" if not self.total else f" of {self.total}"
        parts = [f"{self.unit} {self.done}{of}"] if made or of else []
        if made:
            each = spent / made
            parts.append(f"{each:.1f} s a {self.unit}")
            if self.total:
                parts.append(left(each * (self.total - self.done)))
        else:
            parts.append(f"{minutes(spent)} so far")
        return f"{self.what}: " + ", ".join(parts) + (f"; {self.note}" if self.note else "")


def left(seconds: float) -> str:
    """Say how long the rest will take, in whole minutes: no guess is better than that."""
    return "less than a minute left" if seconds < MINUTE else f"{minutes(seconds)} left"


def minutes(seconds: float) -> str:
    """Write a time in whole minutes, from an hour on with the hours."""
    count = max(1, math.floor(seconds / MINUTE + 0.5))
    if count >= 60:
        return f"{count // 60} h {count % 60} min"
    return f"{count} minute{'s' * (count != 1)}"


@contextmanager
def following(
    what: str,
    unit: str,
    total: int | None = None,
    *,
    start: int = 0,
    first: str = "",
    clock: Callable[[], float] = time.monotonic,
    every: float = MINUTE,
) -> Iterator[Callable[..., None]]:
    """Give tell(done, note), or tell(more=1), and show how far that is for as long as the block
    lasts.

    That is the line `first`, if there is one, then in a terminal a bar, and in a log a line a
    minute.
    """
    at = Progress(what, unit, total, start, clock(), start)
    if first:
        say(first)
    with ExitStack() as shown:
        bar = None
        if sys.stderr.isatty():
            how = dict(total=total, initial=start, desc=what, unit=unit, disable=another_speaks())
            bar = shown.enter_context(tqdm(**how))
        if bar is None or not terminal():
            shown.enter_context(beating(at, clock, every))

        def tell(done=None, note="", *, more=0, total=None) -> None:
            advance(at, done, note, more=more, total=total)
            if bar is not None:
                bar.total = at.total
                bar.set_postfix_str(note, refresh=False)
                bar.update(at.done - bar.n)

        yield tell


@contextmanager
def beating(at: Progress, clock: Callable[[], float], every: float) -> Iterator[None]:
    """Write lines from a thread until the block ends."""
    ended = threading.Event()
    thread = threading.Thread(target=beat, args=(at, ended.wait, clock, say, every), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def advance(
    at: Progress,
    done: int | None = None,
    note: str = "",
    *,
    more: int = 0,
    total: int | None = None,
) -> None:
    """Note how far the work is, what it is at, and how much there is where that was not known."""
    at.done, at.note = at.done + more if done is None else done, note
    at.total = at.total if total is None else total


def beat(
    at: Progress,
    wait: Callable[[float], bool],
    clock: Callable[[], float],
    write: Callable[[str], None],
    every: float = MINUTE,
) -> None:
    """Write a line each time that `wait` comes back without the end of the work."""
    while not wait(every):
        write(at.line(clock()))


@contextmanager
def compiling() -> Iterator[None]:
    """Say that a program is being compiled, and once a minute that it still is."""
    with following("compiling", "program", first=slow_start()):
        yield


def slow_start() -> str:
    """Say how long it takes until compiled programs run."""
    import jax  # whose start those who compile nothing need not wait for

    takes = SLOW.get(jax.default_backend(), "up to 2 minutes")
    return f"compiling: {takes}, seconds where the same was compiled before"


def say(text: str, file: TextIO | None = None) -> None:
    """Print a line above the bar, if there is one; a command spells what it names."""
    if not another_speaks():
        tqdm.write(SPELLING.get()(text), file=file or sys.stdout)


def terminal() -> bool:
    """Tell whether what is printed is looked at, and kept nowhere."""
    return sys.stdout is not None and sys.stdout.isatty()


def another_speaks() -> bool:
    """Tell whether another process speaks for this one."""
    return sys.stdout is None
