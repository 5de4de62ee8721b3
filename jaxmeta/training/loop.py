"""The one trainer: it knows a learner, batches of tasks, and nothing of what either is about.

Each step is dispatched before the metrics of the one before are read, so the device never waits for
the host. Effects are the caller's: `log` writes and shows, `save` validates and checkpoints,
`interrupted` says that the process was asked to end.
"""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jaxmeta.errors import BadInput


def train(
    step: Callable[[PyTree, PyTree], tuple[PyTree, dict]],
    state: PyTree,
    batches: Iterator[PyTree],
    *,
    start: int,
    steps: int,
    every: int,
    place: Callable[[PyTree], PyTree],
    log: Callable[[int, dict], None],
    save: Callable[[int, PyTree, bool], None],
    interrupted: Callable[[], bool] = lambda: False,
    name_task: Callable[[dict, int], str] = lambda per_task, place: f"task {place} of the step",
    summarize: Callable[[dict], dict] | None = None,
) -> tuple[int, PyTree, dict[str, float]]:
    """Make the steps behind `start` up to `steps`, saving each `every` steps and at the end.

    `save` is told whether that is due, or an interruption made it so. `log` gets what `summarize`
    makes of a step's metrics, by default `summary`, and the seconds of the step;
    `name_task(per_task, place)` says to a person which task of the batch it is.

    Returns the last step made, the state and the seconds spent on data, device and checkpoints.
    Raises BadInput at the first loss or meta-gradient that is not a number, naming the task.
    """
    spent: dict[str, float] = defaultdict(float)
    number, waiting, began = start, None, time.perf_counter()

    def report():
        nonlocal waiting, began
        if waiting is None:
            return
        with timed(spent, "device"):
            values = jax.device_get(waiting[1])
        refuse_nan(waiting[0], values["per_task"], name_task)
        now = time.perf_counter()
        log(waiting[0], (summarize or summary)(values) | dict(seconds=now - began))
        waiting, began = None, now

    while number < steps and not interrupted():
        with timed(spent, "data"):
            batch = place(next(batches))
        with timed(spent, "device"):
            state, metrics = step(state, batch)
        number += 1
        report()
        waiting = number, metrics
        if number % every == 0 or number == steps:
            report()
            with timed(spent, "checkpoint"):
                save(number, state, True)
            began = time.perf_counter()
    report()
    if start < number < steps and number % every:  # else the loop has saved it
        save(number, state, False)
    return number, state, dict(spent)


def summary(metrics: dict) -> dict[str, Any]:
    """Flatten a step's metrics: the mean over tasks of each that is a measure, then the scalars."""
    per_task = {name: np.asarray(values) for name, values in metrics["per_task"].items()}
    means = {
        name: float(np.mean(values))
        for name, values in per_task.items()
        if not np.issubdtype(values.dtype, np.integer)  # those name or number tasks
    }
    return means | {name: float(value) for name, value in metrics["scalars"].items()}


def refuse_nan(number: int, per_task: dict, name_task: Callable[[dict, int], str]) -> None:
    """Stop at the first task whose loss or gradient is not finite."""
    for name in ("loss", "grad_norm"):
        for place, value in enumerate(np.asarray(per_task[name])):
            if not np.isfinite(value):
                raise BadInput(
                    f"step {number}: the {name} is {value} in {name_task(per_task, place)}; the "
                    "last checkpoint is sound: lower the inner or outer rate, or look at that task"
                )


@contextmanager
def timed(spent: dict[str, float], what: str):
    """Add the seconds of a block to `spent[what]`."""
    began = time.perf_counter()
    yield
    spent[what] += time.perf_counter() - began


def cost(compiled: jax.stages.Compiled) -> dict[str, float]:
    """Read what a compiled step will need: temporary MiB a device, and GFLOP as XLA counts them.

    XLA counts the body of a loop once, however often it runs.
    """
    memory, work = compiled.memory_analysis(), compiled.cost_analysis()
    work = work[0] if isinstance(work, list) else work or {}
    return dict(
        temporary_mib=memory.temp_size_in_bytes / 2**20 if memory else float("nan"),
        gflop=work.get("flops", float("nan")) / 1e9,
    )
