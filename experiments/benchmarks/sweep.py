"""How time and memory of a second-order step grow: with inner steps, with tasks, with the image."""

import csv
from collections.abc import Sequence
from pathlib import Path

from matplotlib.figure import Figure

from experiments.benchmarks.core import meta_step
from jaxmeta.files import beside

YARDSTICK = dict(size=64, steps=3, tasks=4, shots=5)
FIGURES = ("seconds", "temporary_mib", "compile_seconds")
LABELS = {"seconds": "seconds a step", "temporary_mib": "temporary MiB a device"}
VARIED = {"steps": "inner steps", "tasks": "tasks a step", "size": "rows and columns of a slice"}


def sweep(
    over: str,
    values: Sequence[int],
    output: Path,
    memory: Sequence[str],
    *,
    width: int,
    repeat: int,
) -> None:
    """Measure, print, and write OUTPUT and the CSV beside it, anew after each measurement."""
    found = []
    for value in values:
        for mode in memory:
            sizes = YARDSTICK | {over: value}
            figures = meta_step(**sizes, width=width, memory=mode, repeat=repeat)
            row = {over: value, "memory": mode} | {name: figures[name] for name in FIGURES}
            found.append(row)
            print(
                "  ".join(
                    f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()
                )
            )
            write(found, output.with_suffix(".csv"))
            draw(found, over, output)


def write(found: Sequence[dict], path: Path) -> None:
    """Write figures as CSV."""
    with beside(path) as part, part.open("w", newline="", encoding="utf-8") as file:
        rows = csv.DictWriter(file, found[0])
        rows.writeheader()
        rows.writerows(found)


def draw(found: Sequence[dict], over: str, path: Path) -> None:
    """Draw a line a mode, time on the left and memory on the right, both from zero."""
    figure = Figure(figsize=(8, 3), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), LABELS, strict=True):
        for mode in dict.fromkeys(row["memory"] for row in found):
            own = [row for row in found if row["memory"] == mode]
            axes.plot([row[over] for row in own], [row[name] for row in own], "o-", label=mode)
        axes.set(xlabel=VARIED[over], ylabel=LABELS[name])
        axes.set_xticks(list(dict.fromkeys(row[over] for row in found)))
        axes.set_ylim(0, 1.25 * max(row[name] for row in found))
        axes.grid(alpha=0.3)
        axes.legend()
    with beside(path) as part:
        figure.savefig(part, format="png", dpi=110)
