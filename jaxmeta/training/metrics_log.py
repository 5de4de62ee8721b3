"""A run's metrics as JSON lines, one a step: grep-able, and readable while the run goes on.

The file is the record. Dashboards (`dashboards.py`) are told the same, and learn from the file what
they have missed, so any can be added to a run, left out, or thrown away at any time.
"""

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path

from jaxmeta.files import beside

Write = Callable[[int, dict], None]  # of a step's number and its values
Dashboard = Callable[[Path, Sequence[dict]], AbstractContextManager[Write]]


@contextmanager
def write_metrics(
    folder: Path, dashboards: Sequence[Dashboard] = (), *, after: int
) -> Iterator[Write]:
    """Give write(step, values), which tells `metrics.jsonl` in a run's folder, then each dashboard.

    The run goes on behind step `after`; a dashboard is opened with the folder and the lines up to
    that step. All are closed however the block ends.
    """
    path = folder / "metrics.jsonl"
    tell = [metrics_file(path, after=after)]
    past = read_metrics(path)
    with ExitStack() as stack:
        tell += [stack.enter_context(dashboard(folder, past)) for dashboard in dashboards]

        def write(step: int, values: dict) -> None:
            for each in tell:
                each(step, values)

        yield write


def metrics_file(path: Path, *, after: int = 0) -> Write:
    """Open a metrics file to write on, cut back to the lines of steps up to `after`.

    A run that resumes from the checkpoint of step n repeats the steps behind n: their lines, and a
    last line that was cut off in the middle, are dropped first.
    """
    lines = [line for line in read_metrics(path) if line["step"] <= after]
    with beside(path) as part:
        part.write_text("".join(json.dumps(line) + "\n" for line in lines), "utf-8")

    def write(step: int, values: dict) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(step=step) | values) + "\n")

    return write


def read_metrics(path: Path) -> list[dict]:
    """Read a metrics file up to its last whole line; nothing where there is no file."""
    if not path.exists():
        return []
    lines = []
    for text in path.read_text("utf-8").splitlines():
        try:
            lines.append(json.loads(text))
        except json.JSONDecodeError:
            break
    return lines


def column(lines: list[dict], name: str) -> tuple[list[int], list[float]]:
    """Take one metric out of the lines that have it: the steps and the values."""
    have = [line for line in lines if name in line and math.isfinite(line[name])]
    return [line["step"] for line in have], [line[name] for line in have]
