"""The training command as a user meets it: stopped, killed, resumed, or given what cannot be."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from experiments import configs
from experiments.command import run as run_command
from experiments.configs import Config, from_json
from experiments.meta_train import parse
from experiments.runs import open_run
from experiments.training import meta_train
from jaxmeta import track
from jaxmeta.errors import BadInput
from jaxmeta.files import plain

ROOT = Path(__file__).resolve().parents[2]
STEPS = 8


@pytest.fixture
def words(config, tmp_path):
    """The command line of the small run, longer, with checkpoints at every second step."""
    file = tmp_path / "config.json"
    told = plain(dataclasses.replace(config, workdir=None, steps=STEPS))
    file.write_text(json.dumps(told))
    return ["--config-file", str(file), "--workdir"]


def start(words, folder):
    command = [sys.executable, "-m", "experiments.meta_train", *words, str(folder)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process):
    out, error = process.communicate(timeout=300)
    assert process.returncode == 0, error
    return out


def losses(folder):
    lines = track.read_metrics(folder / "metrics.jsonl")
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def wait_for_step(folder, number):
    until = time.monotonic() + 200
    while not any(step >= number for step, _ in losses(folder)):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(words, tmp_path, how):
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    finish(start(words, whole))
    process = start(words, stopped)
    wait_for_step(stopped, 3)
    process.send_signal(how)
    out, _ = process.communicate(timeout=100)
    if how == signal.SIGTERM and losses(stopped)[-1][0] < STEPS:
        assert process.returncode == 0
        assert "resume with: python -m experiments.meta_train" in out
    finish(start(words, stopped))
    assert losses(stopped) == losses(whole)
    assert [step for step, _ in losses(whole)] == list(range(1, STEPS + 1))


def test_a_second_call_of_a_finished_run_trains_no_more(run, config, capsys):
    before = losses(run)
    assert meta_train(config)
    assert "trained already" in capsys.readouterr().out
    assert losses(run) == before


def test_what_a_run_is_stands_in_its_folder_and_is_enough_to_repeat_it(run, config):
    told, division = configs.read(run)
    assert dataclasses.replace(told, structures=()) == config
    assert division.test_organs == ("spleen",) and division.val_organs == ("heart",)
    assert told.structures == ("belly/kidney", "belly/liver", "chest/lung")


def test_the_start_prints_device_split_memory_and_work(config, tmp_path, capsys):
    meta_train(dataclasses.replace(config, workdir=tmp_path / "run"))
    out = capsys.readouterr().out
    for part in ("device: 4 x cpu", "training side", "MiB temporary memory", "GFLOP", "a second"):
        assert part in out


@pytest.mark.parametrize(
    "change, message",
    [
        ({"seed": 1}, "another config: seed was 0, is 1"),
        ({"test_organs": ("spleens",)}, "unknown organ 'spleens': the shards hold heart, kidney"),
        ({"train_organs": ("spleen", "liver")}, "spleen is on the training and on the test side"),
        ({"val_organs": ("spleen",)}, "spleen is on the validation and on the test side"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run, config, change, message):
    with pytest.raises(BadInput, match=message):
        meta_train(dataclasses.replace(config, **change))


def test_more_shots_than_slices_are_refused(config, tmp_path):
    tasks = dataclasses.replace(config.tasks, shots=99)
    with pytest.raises(BadInput, match="99 shots asked"):
        meta_train(dataclasses.replace(config, tasks=tasks, workdir=tmp_path / "run"))


def test_a_configuration_goes_to_json_and_back(config):
    values = json.loads(json.dumps(plain(config)))
    assert from_json(Config, values) == config
    with pytest.raises(BadInput, match="unknown configuration 'sede'"):
        from_json(Config, {"sede": 1})


@pytest.mark.parametrize("preset", configs.PRESETS)
def test_every_preset_is_known_to_the_command_line_and_builds(preset):
    name, config = parse([preset, "--seed", "3", "--inner.test-steps", "7"])
    assert (name, config.seed, config.inner.test_steps) == (preset, 3, 7)
    model, learner = configs.build(dataclasses.replace(config, structures=("a/b",)))
    assert callable(model.apply) and callable(learner.step)


def test_a_user_s_mistake_ends_with_one_line_and_2(capsys):
    def mistaken():
        parse(["unet-mamll"])

    with pytest.raises(SystemExit) as ended:
        run_command(mistaken)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: unknown preset 'unet-mamll'") and error.count("\n") == 1


def test_a_run_begins_with_the_network_of_another(run, config, tmp_path):
    """After no step at all its parameters are the other's, its rates its own."""
    begun = dataclasses.replace(config, begin=run, steps=0, workdir=tmp_path / "begun")
    assert meta_train(begun)
    theirs, ours = (open_run(folder).state.meta.learned for folder in (run, begun.workdir))
    jax.tree.map(np.testing.assert_array_equal, ours["theta"], theirs["theta"])
    assert all((rate == config.inner.rate).all() for rate in jax.tree.leaves(ours["rate"]))


def test_a_run_does_not_begin_with_one_that_learned_what_it_holds_out(run, config, tmp_path):
    leak = dataclasses.replace(config, begin=run, test_organs=("liver",), workdir=tmp_path / "leak")
    with pytest.raises(BadInput, match="was trained on liver, which this run holds out"):
        meta_train(leak)
