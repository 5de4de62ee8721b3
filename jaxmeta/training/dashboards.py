"""Dashboards beside the metrics file: the same steps in TensorBoard, or in Weights & Biases.

Each is a context that gives write(step, values), opened with the run's folder and with
`past`, the lines of `metrics.jsonl` so far. Nothing is asked of an earlier process, which may have
been killed, or have had no dashboard: what is missing is told from `past`. The packages are
optional extras, imported only when asked for.
"""

import importlib
import json
import os
import secrets
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

from jaxmeta.errors import BadInput
from jaxmeta.files import beside
from jaxmeta.training.metrics_log import Write

PACKAGES = {"tensorboard": "tensorboardX", "wandb": "wandb"}
NAMES = {"validation_dice": "eval/dice", "seconds": "time/seconds_a_step"}  # others: train/...


def package(dashboard: str) -> ModuleType:
    """Import the package of a dashboard; raises BadInput with the command that installs it."""
    name = PACKAGES[dashboard]
    try:
        module = importlib.import_module(name)
        if module.__file__ is None:  # W&B leaves such a folder where it ran, and Python imports it
            raise ImportError("only a folder of that name is here")
    except ImportError as error:
        raise BadInput(
            f'`track={dashboard}` needs {name}: pip install -e ".[{dashboard}]" ({error})'
        ) from None
    return module


def scalars(values: dict, structures: Sequence[str]) -> dict[str, float]:
    """Name the numbers of one line of metrics; the Dice of tasks becomes a mean for each structure.

    `structures` are the names of the numbers that stand in `values["structures"]`, one a task.
    """
    named = {
        NAMES.get(name, f"train/{name}"): value
        for name, value in values.items()
        if isinstance(value, (int, float)) and name != "step"
    }
    of = defaultdict(list)
    for number, dice in zip(values.get("structures", ()), values.get("task_dice", ())):
        of[f"train/dice/{structures[number]}"].append(dice)
    return named | {name: sum(each) / len(each) for name, each in of.items()}


@contextmanager
def tensorboard(
    folder: Path, past: Sequence[dict], *, config: dict, structures: Sequence[str]
) -> Iterator[Write]:
    """Write `folder`/tensorboard anew: the configuration as text, the past, and what is to come."""
    place = folder / "tensorboard"
    # A TensorBoard that is looking on has the last file open, and finds the next only from there;
    # what it read of steps from `purge_step` on, it then drops.
    for earlier in sorted(place.glob("events.*"))[:-1]:
        earlier.unlink()
    writer = package("tensorboard").SummaryWriter(str(place), purge_step=0, flush_secs=10)

    def write(step: int, values: dict) -> None:
        for name, value in scalars(values, structures).items():
            writer.add_scalar(name, value, step)

    try:
        text = textwrap.indent(json.dumps(config, indent=1), "    ")  # Markdown for: as it stands
        writer.add_text("config", text, 0)
        for line in past:
            write(line["step"], line)
        yield write
    finally:
        writer.close()


@contextmanager
def wandb(
    folder: Path, past: Sequence[dict], *, config: dict, structures: Sequence[str]
) -> Iterator[Write]:
    """Write to the one W&B run of `folder`, whose id is kept in `folder`/wandb/id.

    Steps at W&B only rise. Online it tells the first step it lacks: a resumed training goes on
    there, and steps that it repeats are left as they were told first. Offline it knows of no other
    process; each writes the whole run, so that `wandb sync` of the latest is enough.

    Raises BadInput where W&B refuses, say for want of a login.
    """
    wb = package("wandb")
    path = folder / "wandb" / "id"
    if not path.exists():
        with beside(path) as part:
            part.write_text(secrets.token_hex(4), "utf-8")
    try:
        run = wb.init(
            project=os.environ.get("WANDB_PROJECT", "jaxmeta"),
            name=folder.name,
            id=path.read_text("utf-8"),
            resume="allow",
            dir=folder,
            config=config,
        )
    except wb.Error as error:
        said = str(error).replace("`", "'")  # backticks name our parameters
        raise BadInput(
            f"`track=wandb`: {said}; run `wandb login`, or set WANDB_MODE=offline"
        ) from None
    with run:  # one that ends by an error is marked so
        first = run.step

        def write(step: int, values: dict) -> None:
            if step >= first:
                run.log(scalars(values, structures), step=step)

        for line in past:
            write(line["step"], line)
        yield write
