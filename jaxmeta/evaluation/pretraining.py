"""What the baseline transfer is pre-trained on: what a run learned from, and as much of it."""

import dataclasses

import numpy as np

from jaxmeta.augmentation.augment import Augmentation
from jaxmeta.errors import BadInput, Occupied
from jaxmeta.methods import method_of
from jaxmeta.methods.options import Episodes
from jaxmeta.methods.transfer import Transfer
from jaxmeta.progress import say
from jaxmeta.runs.config import Config
from jaxmeta.runs.presets import with_method
from jaxmeta.runs.run import Run, open_run
from jaxmeta.runs.train import meta_train
from jaxmeta.training import metrics_log

PASSED_ON = ("organs", "patients", "contents")  # leaks of a split, which its pre-training has too


def pretrained(run: Run, folder: str, augment: Augmentation) -> Run:
    """Pre-train transfer on what a run learned from, with as many slice-gradients, in RUN/folder.

    A transfer step differentiates every slice of a task once. The outer rate is the preset's own:
    plain training wants a higher one.
    """
    config, tasks = run.config, run.config.tasks
    steps = round(config.steps * slice_gradients(config) / (tasks.shots + tasks.queries))
    preset = with_method(config, Transfer(augment=getattr(config.method, "augment", 0.0)))
    as_usual = config.outer.optimizer == preset.outer.optimizer
    outer = dataclasses.replace(config.outer, rate=preset.outer.rate) if as_usual else preset.outer
    if isinstance(tasks, Episodes):  # supervoxels and synthetic organs have no output each
        tasks = dataclasses.replace(tasks, kind="episodes")
    transfer = dataclasses.replace(
        preset,
        outer=outer,
        allow_leak=tuple(kind for kind in config.allow_leak if kind in PASSED_ON),
        tasks=tasks,
        augment=augment,
        workdir=run.folder / folder,
        steps=steps,
        checkpoint_every=max(1, steps // 5),
        test_patients=run.split.test_patients,
    )
    say(f"pre-training transfer for {steps} steps: as many slice-gradients as the run had")
    try:
        return open_run(meta_train(transfer))
    except Occupied:
        raise BadInput(
            f"{transfer.workdir} was pre-trained with other settings: remove it, or name it, or "
            "another, with `transfer`"
        ) from None


def slice_gradients(config: Config) -> int:
    """Count the slices that a task's meta-gradient differentiates, second derivatives left aside.

    The support is seen in each inner step and by each product of an implicit meta-gradient, or once
    where nothing is walked; the query once.
    """
    passes = method_of(config.method).gradients(config.method)
    return passes * config.tasks.shots + config.tasks.queries


def heads(transfer: Run) -> dict[str, float]:
    """Give the Dice of each pre-training head over the last quarter of the training.

    A transfer baseline with dead heads would be too easy to beat; a head whose structure was not
    even drawn there has 0.
    """
    lines = [
        line
        for line in metrics_log.read_metrics(transfer.folder / "metrics.jsonl")
        if "task_dice" in line
    ]
    seen = {name: [] for name in sorted(transfer.config.structures)}
    for line in lines[-max(1, len(lines) // 4) :]:
        for number, dice in zip(line["structures"], line["task_dice"], strict=True):
            seen[transfer.config.structures[number]].append(dice)
    return {name: float(np.mean(of)) if of else 0.0 for name, of in seen.items()}
