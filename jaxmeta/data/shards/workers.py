"""Work for several processes, which end with their parent, and at Ctrl-C without a traceback."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any

from jaxmeta.errors import BadInput


def each_done(
    function: Callable[..., Any], works: Sequence[Any], *told: Any, workers: int | None = None
) -> Iterator[tuple[int, Any]]:
    """Yield (number, result) of every function(work, *told) as it is done: in processes, one a
    core by default, if there is work for two."""
    workers = min(workers or cores(), len(works))
    if workers < 2:
        yield from ((number, function(work, *told)) for number, work in enumerate(works))
        return
    spawn = multiprocessing.get_context("spawn")  # safe whatever threads the caller has
    with ProcessPoolExecutor(workers, spawn, _die_with_parent) as pool:
        with deaf_to_ctrl_c():
            jobs = {pool.submit(function, work, *told): n for n, work in enumerate(works)}
        try:
            for job in as_completed(jobs):
                yield jobs[job], job.result()
        except BrokenProcessPool:
            raise BadInput(
                "a worker process was killed, most likely for want of memory; use fewer `workers`"
            ) from None
        finally:
            pool.shutdown(cancel_futures=True)


@contextmanager
def deaf_to_ctrl_c():
    """Let no process that is begun here answer Ctrl-C, from its first line on; this one hears it a
    moment later.

    A terminal sends it to all. One that is ended by it, while it still imports, leaves a traceback,
    and afterwards would look like one that was killed for memory.
    """
    if not hasattr(signal, "pthread_sigmask"):  # not on Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _die_with_parent():
    """Let no worker wait for ever for the next job of a parent that was killed."""

    def watch():
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def cores() -> int:
    """Count the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
