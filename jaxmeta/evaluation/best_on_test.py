"""What a run that learns from labelled patients makes of the test patients at each checkpoint.

Papers of semi-supervised segmentation often report the best of these, which is chosen on the test.
Here it is a column beside the last checkpoint, and nothing is chosen by it.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

from jaxtyping import PyTree

from jaxmeta.evaluation.comparison import mean
from jaxmeta.evaluation.fitting import segmenter_maker
from jaxmeta.evaluation.intervals import number
from jaxmeta.evaluation.protocol import request_of
from jaxmeta.evaluation.protocols.supervised import trials
from jaxmeta.evaluation.scoring import score_volumes
from jaxmeta.numerics import rank
from jaxmeta.progress import say
from jaxmeta.runs.build import open_data
from jaxmeta.runs.config import Config
from jaxmeta.runs.config_file import read_run
from jaxmeta.runs.run import Run
from jaxmeta.splits.pool import pool
from jaxmeta.training.metrics_log import read_metrics

NAME = "test_dice"  # in metrics.jsonl


def asked_of_test(config: Config) -> Callable[[int, PyTree], dict[str, float]]:
    """Make (step, state) -> the mean 3-D Dice of whole test volumes, as a test would score them."""

    @cache
    def known():
        told, division = read_run(config.workdir)  # which it has written by the first checkpoint
        held_out = pool(open_data(told), division, "test")
        return told, division, trials(held_out, request_of(told, 1))

    def ask(step: int, state: PyTree) -> dict[str, float]:
        told, division, asked = known()
        row = segmenter_maker(Run(config.workdir, told, division, state, step), 1)
        row = row("adapted", "adapted", None)
        dice = mean(
            [score for trial in asked for score, _, _ in score_volumes([row], trial)], "dice"
        )
        say(f"step {step}: Dice {number(dice)} on the test patients, by which nothing is chosen")
        return {NAME: dice}

    return ask


def cells(run: Path) -> list[list[str]]:
    """Lay the best checkpoint on the test beside the last; empty where nobody asked the last."""
    lines = read_metrics(run / "metrics.jsonl")
    asked = [(line[NAME], line["step"]) for line in lines if NAME in line]
    if not asked or asked[-1][1] != max(line["step"] for line in lines):
        return []
    (last, _), (best, step) = asked[-1], max(asked, key=lambda each: rank(each[0]))
    head = ["Dice", "last checkpoint", f"best on test of {len(asked)}: chosen by the test itself"]
    return [head, ["test patients", number(last), f"{number(best)} (step {step})"]]
