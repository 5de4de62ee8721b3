"""Ctrl-C ends every command with 130 and one line, whatever it was at."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jaxmeta.data.shards.workers import deaf_to_ctrl_c
from tests.helpers.cohorts import write_scans

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = sorted(
    path for path in (ROOT / "experiments").glob("*.py") if "__main__" in path.read_text()
)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: path.stem)
def test_every_command_is_run_by_what_knows_of_ctrl_c(path):
    """`command.run` gives 130 for a KeyboardInterrupt: tests/commands/test_meta_train.py."""
    text = path.read_text()
    (name,) = re.findall(r'^if __name__ == "__main__":\n    (\w+)\(main\)\n\Z', text, re.MULTILINE)
    assert re.search(
        rf"^from jaxmeta\.commands\.command import .*\brun( as {name})?$", text, re.MULTILINE
    )


def test_a_worker_is_deaf_to_ctrl_c_from_its_first_line():
    """Its imports take seconds: Ctrl-C within them left a traceback."""
    answers = (
        "import os, signal as s; s.signal(s.SIGINT, s.SIG_DFL); os.kill(os.getpid(), s.SIGINT)"
    )
    with deaf_to_ctrl_c():
        assert subprocess.run([sys.executable, "-c", answers]).returncode == 0
    assert subprocess.run([sys.executable, "-c", answers]).returncode == -signal.SIGINT


@pytest.mark.slow
def test_a_preparation_in_several_processes_ends_in_one_line(tmp_path):
    """A terminal sends Ctrl-C to the workers too; none of them answers."""
    for name, count in dict(a=2, b=16).items():  # the first is done long before the second
        write_scans(tmp_path / name, ["liver", "spleen"], count, 0, shape=(160, 160, 60))
    words = ["--input", tmp_path / "a", tmp_path / "b", "--output", tmp_path / "shards"]
    process = subprocess.Popen(
        [sys.executable, "-m", "experiments.prepare_data", *map(str, words), "--workers", "2"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    until = time.monotonic() + 100
    while not list((tmp_path / "shards").glob("*")) and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=100)
    assert (process.returncode, error) == (130, "interrupted\n")
    assert not (tmp_path / "shards" / "index.json").exists()
