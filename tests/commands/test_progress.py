"""What a log says of long work: by a clock of its own, so nothing here waits."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxmeta import progress
from jaxmeta.progress import MINUTE, Progress, advance, beat, following, left, minutes

ROOT = Path(__file__).resolve().parents[2]


def log_of(at: Progress, work) -> list[str]:
    """Let a clock run a minute at a time: `work` does what a minute brings, until it has no more to
    do."""
    now, lines = [at.began], []

    def wait(seconds):
        now[0] += seconds
        return not work(at)

    beat(at, wait, lambda: now[0], lines.append)
    return lines


def doing(*each):
    """Do so many parts in each minute; None is a minute in which nothing is done."""
    todo = list(each)

    def work(at):
        if todo:
            advance(at, more=todo.pop(0), note=at.note)
            return True
        return False

    return work


def test_a_line_a_minute_says_what_is_done_what_each_took_and_what_is_left():
    at = Progress("training", "step", 800, 200, 1000.0, 200, "loss 0.310")
    assert log_of(at, doing(0, 40, 20)) == [
        "training: step 200 of 800, 1 minute so far; loss 0.310",
        "training: step 240 of 800, 3.0 s a step, 28 minutes left; loss 0.310",
        "training: step 260 of 800, 3.0 s a step, 27 minutes left; loss 0.310",
    ]


def test_work_that_nobody_has_counted_is_heard_of_too():
    assert log_of(Progress("compiling", "program", None, 0, 0.0, 0), doing(0, 0)) == [
        "compiling: 1 minute so far",
        "compiling: 2 minutes so far",
    ]
    searched = log_of(Progress("tuning", "setting", None, 0, 0.0, 0), doing(2, 1))
    assert searched == [
        "tuning: setting 2, 30.0 s a setting",
        "tuning: setting 3, 40.0 s a setting",
    ]


@given(st.integers(1, 10**5), st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_the_rest_is_guessed_from_what_was_done_here(total, each):
    at = Progress("training", "step", total + sum(each), 7, 0.0, 7)
    for number, line in enumerate(log_of(at, doing(*each)), 1):
        done = sum(each[:number])
        if not done:
            assert line.endswith(f"{minutes(number * MINUTE)} so far")
            continue
        rest = (at.total - 7 - done) * number / done  # minutes
        near = tuple(left(rest * MINUTE * (1 + apart)) for apart in (-1e-9, 1e-9))  # rounded
        assert line.endswith(near) and f"step {done + 7} of {at.total}" in line


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "1 minute"),
        (60.1, "1 minute"),
        (91, "2 minutes"),
        (3599, "1 h 0 min"),
        (7385, "2 h 3 min"),
    ],
)
def test_times_are_whole_minutes(seconds, text):
    assert minutes(seconds) == text


class Screen:
    """What `sys.stdout` or `sys.stderr` may be."""

    def __init__(self, is_terminal):
        self.is_terminal, self.text = is_terminal, ""

    def write(self, text):
        self.text += text

    def flush(self):
        pass

    def isatty(self):
        return self.is_terminal


@pytest.mark.parametrize("out, err", [(True, True), (False, True), (True, False), (False, False)])
def test_a_terminal_has_a_bar_and_a_log_has_lines(out, err, monkeypatch):
    out, err = Screen(out), Screen(err)
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    begun = []
    monkeypatch.setattr(progress, "beat", lambda *told: begun.append(told))
    with following("training", "step", 8, first="training: 8 steps to go") as tell:
        tell(3, "loss 1")
        tell(more=1)
    assert out.text.startswith("training: 8 steps to go\n")
    assert bool(begun) == (not (out.is_terminal and err.is_terminal))
    assert ("4/8" in err.text) == err.is_terminal
    if begun:
        assert begun[0][0].done == 4


def test_a_process_for_which_another_speaks_prints_nothing(monkeypatch):
    err = Screen(True)
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", err)
    with following("training", "step", 8, first="training: 8 steps to go") as tell:
        tell(3)
    assert err.text == ""


def test_the_thread_that_writes_ends_with_the_work_even_where_that_fails(capsys):
    import threading

    before = threading.active_count()
    with pytest.raises(ValueError), following("training", "step", 8):
        raise ValueError
    assert threading.active_count() == before


ALARM = """
import experiments, jax, jax.numpy as jnp, numpy as np
constant = np.ones((40, 40), np.float32)
window = (32, 32), (1, 1), "SAME"
folded = lambda: jax.lax.reduce_window(constant, np.float32(0), jax.lax.add, *window)
print(jax.jit(folded)().shape)
jnp.zeros(10**13).block_until_ready()
"""


@pytest.mark.slow
@pytest.mark.parametrize("level, heard", [(None, False), ("2", True)])
def test_xla_s_alarm_of_slow_compilations_is_silent_and_its_failures_are_not(level, heard):
    """Folding a constant for a second rings the same alarm as compiling for two minutes."""
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_ENABLE_COMPILATION_CACHE": "false"}
    environment.pop("TF_CPP_MIN_LOG_LEVEL", None)
    environment.pop("XLA_FLAGS", None)
    environment |= {"TF_CPP_MIN_LOG_LEVEL": level} if level else {}
    ended = subprocess.run(
        [sys.executable, "-c", ALARM], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert ended.stdout == "(40, 40)\n"
    assert ("slow_operation_alarm" in ended.stderr) == heard
    assert ended.returncode == 1 and "RESOURCE_EXHAUSTED" in ended.stderr


PIPED = """
import os, sys
from jaxmeta.commands.command import run

def main():
    print("a line")
    os.kill(os.getpid(), 9)  # no buffer is written out by this end

run(main)
"""


def test_a_pipe_has_each_line_as_soon_as_it_is_printed():
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    ended = subprocess.run(
        [sys.executable, "-c", PIPED], cwd=ROOT, env=buffered, capture_output=True, text=True
    )
    assert ended.returncode == -9 and ended.stdout == "a line\n"
