"""The training command as a user meets it: stopped, killed, resumed, or given what cannot be."""

import dataclasses
import errno
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxmeta.algorithms import Meta
from jaxmeta.commands.command import Stopped
from jaxmeta.commands.command import run as run_command
from jaxmeta.commands.train import main, parse
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.errors import BadInput
from jaxmeta.files import plain
from jaxmeta.learners.episodic import Episodic
from jaxmeta.methods.networks.instance_unet import InstanceUnet
from jaxmeta.methods.transfer import Scratch
from jaxmeta.models.sam import SIZES
from jaxmeta.models.sam.files import write_size
from jaxmeta.parallel.devices import task_mesh
from jaxmeta.runs import checks, config_file, train
from jaxmeta.runs.build import build, open_data
from jaxmeta.runs.changes import changed
from jaxmeta.runs.config import Config, to_json
from jaxmeta.runs.config_file import from_json
from jaxmeta.runs.presets import PRESETS, with_method
from jaxmeta.runs.provenance import held_by, leaks
from jaxmeta.runs.run import Run, network_of, open_run
from jaxmeta.runs.setup import structure_names
from jaxmeta.runs.stopping import stop_signal
from jaxmeta.runs.train import meta_train, trained
from jaxmeta.splits.pool import Entry, pool
from jaxmeta.splits.split import Split
from jaxmeta.training import metrics_log
from tests.helpers.cohorts import write_scans

ROOT = Path(__file__).resolve().parents[2]
STEPS = 8


@pytest.fixture(scope="module")
def words(config, tmp_path_factory):
    """The command line of the small run, longer, with checkpoints at every second step."""
    file = tmp_path_factory.mktemp("words") / "config.json"
    told = plain(dataclasses.replace(config, workdir="auto", steps=STEPS))
    file.write_text(json.dumps(told))
    return ["--config-file", str(file), "--workdir"]


def start(words, folder, **environment):
    command = [sys.executable, "-m", "experiments.meta_train", *words, str(folder)]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"} | environment
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, code=0):
    out, error = process.communicate(timeout=300)
    assert process.returncode == code, error
    return out


def losses(folder):
    lines = metrics_log.read_metrics(folder / "metrics.jsonl")
    return [(line["step"], line["loss"]) for line in lines if "loss" in line]


def wait_for_step(folder, number):
    until = time.monotonic() + 200
    while not any(step >= number for step, _ in losses(folder)):
        assert time.monotonic() < until
        time.sleep(0.01)


@pytest.fixture(scope="module")
def whole(words, tmp_path_factory):
    """The folder of a run that nothing stopped; those beside it share what it compiled."""
    folder = tmp_path_factory.mktemp("stopped") / "whole"
    finish(start(words, folder))
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_run_that_was_stopped_ends_as_one_that_was_not(words, whole, how):
    stopped = whole.parent / how.name
    process = start(words, stopped)
    wait_for_step(stopped, 3)
    process.send_signal(how)
    out, _ = process.communicate(timeout=100)
    if how != signal.SIGKILL and losses(stopped)[-1][0] < STEPS:
        assert process.returncode == 128 + how
        assert "resume with: python -m experiments.meta_train" in out
    finish(start(words, stopped))
    assert losses(stopped) == losses(whole)
    assert [step for step, _ in losses(whole)] == list(range(1, STEPS + 1))


def slurm(process: int, port: int) -> dict[str, str]:
    """What Slurm tells one of two processes; JAX takes its port from the job's number."""
    return dict(
        SLURM_JOB_ID=str(port - 61440),
        SLURM_STEP_NODELIST="localhost",
        SLURM_NTASKS="2",
        SLURM_PROCID=str(process),
        SLURM_LOCALID=str(process),
        JAX_NUM_CPU_DEVICES="2",
    )


def free_port() -> int:
    for port in range(61440, 65536):
        with socket.socket() as probe:
            if probe.connect_ex(("localhost", port)):
                return port
    pytest.skip("no free port")


@pytest.mark.slow
def test_two_processes_train_one_run_and_a_stop_of_one_stops_both(words, tmp_path):
    words = ["--tasks.batch-size", "4", *words]
    alone, shared = tmp_path / "alone", tmp_path / "shared"
    finish(start(words, alone))
    for resumed in (False, True):
        port = free_port()
        both = [start(["--distributed", *words], shared, **slurm(n, port)) for n in (0, 1)]
        if not resumed:
            wait_for_step(shared, 3)
            both[1].send_signal(signal.SIGTERM)
        said = [finish(process, 0 if resumed else 128 + signal.SIGTERM) for process in both]
        assert "device: 4 x cpu" in said[0] and "device:" not in said[1]
        assert ("resume with" in said[0]) != resumed
        assert losses(shared)[-1][0] == STEPS or not resumed
    mine, theirs = (np.array(losses(folder)) for folder in (alone, shared))
    np.testing.assert_allclose(mine, theirs, rtol=1e-3)


@pytest.mark.slow
def test_a_process_that_was_told_of_no_others_is_refused(words, tmp_path):
    process = start(["--distributed", *words], tmp_path / "run")
    _, error = process.communicate(timeout=100)
    assert process.returncode == 2
    assert error.startswith("error: --distributed: nothing here tells this process of others")
    assert not (tmp_path / "run").exists()


def test_a_second_call_of_a_finished_run_trains_no_more(run, config, capsys):
    before = losses(run)
    assert meta_train(config)
    assert "trained already" in capsys.readouterr().out
    assert losses(run) == before


def test_what_a_run_is_stands_in_its_folder_and_is_enough_to_repeat_it(run, config):
    told, division = config_file.read_run(run)
    assert (
        dataclasses.replace(told, structures=(), modality="", planes=(), frames=(), pixels=())
        == config
    )
    assert division.test_organs == ("spleen",) and division.val_organs == ("heart",)
    assert (told.planes, told.pixels) == (("axial",), (1.25, 1.5))  # 24 and 20 pixels of 1 mm at 16
    assert told.structures == ("belly/kidney", "belly/liver", "chest/lung")


def test_the_start_prints_device_split_memory_and_work(config, tmp_path, capsys):
    meta_train(dataclasses.replace(config, workdir=tmp_path / "run"))
    out = capsys.readouterr().out
    for part in ("device: 4 x cpu", "training side", "MiB temporary memory", "GFLOP", "a second"):
        assert part in out


@pytest.mark.parametrize(
    "change, message",
    [
        (
            {"seed": 1},
            "run with other settings: seed 0 -> 1.*; give another `workdir`, or go on from",
        ),
        ({"test_organs": ("spleens",)}, "unknown organ 'spleens': the shards hold heart, kidney"),
        ({"train_organs": ("spleen", "liver")}, "spleen is on the training and on the test side"),
        ({"val_organs": ("spleen",)}, "spleen is on the validation and on the test side"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line(run, config, change, message):
    with pytest.raises(BadInput, match=message):
        meta_train(dataclasses.replace(config, **change))


def test_an_occupied_folder_tells_only_what_differs_and_how_to_begin_with_it(run, config):
    other = dataclasses.replace(
        config,
        steps=9,
        allow_leak=("shared-patients",),
        method=dataclasses.replace(config.method, rate=0.5, trainable=("head",)),
        tasks=dataclasses.replace(config.tasks, spacing=2.0),
    )
    with pytest.raises(BadInput) as refused:
        meta_train(other)
    told = str(refused.value)
    before, _, after = told.partition(" is of a run with other settings: ")
    assert before == str(run / "config.json")
    assert after == (
        "allow_leak +shared-patients, steps 4 -> 9, method.rate 0.15 -> 0.5, method.trainable "
        "+head, tasks.spacing 0.0 -> 2.0; give another `workdir`, or go on from what it learned: "
        f"`init_from={run}` `workdir=ANOTHER`"
    )


def test_changes_are_what_one_has_and_the_other_has_not():
    stands = {"config": to_json(Config()), "split": {"test_patients": ["a/1", "a/2"]}}
    told = {"config": to_json(Config()), "split": {"test_patients": ["a/1", "a/3"]}}
    assert changed(stands, told) == ["test_patients -a/2 +a/3"]
    told["split"]["test_patients"] = ["a/2", "a/1"]
    assert changed(stands, told) == ["test_patients a/1 a/2 -> a/2 a/1"]
    told["split"]["test_patients"] = [f"b/{n}" for n in range(30)]
    (many,) = changed(stands, told)
    assert many.startswith("test_patients -a/1 -a/2 +b/0") and many.endswith("and 20 more")
    told = stands | {"config": to_json(Config(axis="coronal", steps=9))}
    stands = {"config": {"method": {"type": "meta-sgd"}}, "split": stands["split"]}
    assert changed(stands, told) == ["steps 800 -> 9"], "what an earlier version did not know"


def test_a_run_that_was_refused_leaves_its_folder_to_the_corrected_one(config, tmp_path):
    tasks = dataclasses.replace(config.tasks, shots=99)
    config = dataclasses.replace(config, workdir=tmp_path / "run", steps=0)
    with pytest.raises(BadInput, match="99 shots asked"):
        meta_train(dataclasses.replace(config, tasks=tasks))
    assert meta_train(config)


def test_organs_of_one_patient_are_learned_from_where_asked(config, tmp_path):
    write_scans(tmp_path / "alone", ["lung"], 1, 2)
    prepare([tmp_path / "alone"], tmp_path / "shards", size=16, workers=1)
    data = (*config.data, tmp_path / "shards")
    for single in (False, True):
        tasks = dataclasses.replace(config.tasks, single_patients=single)
        run = dataclasses.replace(
            config, tasks=tasks, data=data, workdir=tmp_path / f"run{single}", steps=0
        )
        assert meta_train(run)
        told, _ = config_file.read_run(run.workdir)
        assert ("alone/lung" in told.structures) == single


def test_size_and_spacing_are_what_the_shards_were_prepared_for(config, tmp_path):
    tasks = dataclasses.replace(config.tasks, size=0, spacing="shards")
    meta_train(dataclasses.replace(config, tasks=tasks, workdir=tmp_path / "run", steps=0))
    told, _ = config_file.read_run(tmp_path / "run")
    assert (told.tasks.size, told.tasks.spacing, told.axis) == (16, 0.0, "acquired")


@pytest.mark.parametrize(
    "words, message",
    [
        ("--tasks.size 50", "`tasks.size=50`: a network of 4 levels needs a multiple of 8"),
        ("--network.widths 12 24", "`network.widths=12`: does not split into 8 groups"),
        ("--checkpoint-every 0", "`checkpoint_every=0`: must be at least 1"),
        ("--seed -1", "`seed=-1`: must be at least 0"),
        ("--validation-tasks 0", "`validation_tasks=0`: must be at least 1"),
        ("--augment.elastic-cells 0", "`augment.elastic_cells=0`: must be at least 1"),
        ("--tasks.spacing -1", "`tasks.spacing=-1.0`: must be at least 0"),
    ],
)
def test_numbers_that_no_run_can_be_made_of_are_refused(words, message):
    _, config = parse(["unet-maml", *words.split()])
    with pytest.raises(BadInput, match=message):
        checks.check(config)


def test_a_chunk_that_does_not_divide_the_tasks_of_a_device_is_refused():
    _, config = parse("unet-maml --tasks.batch-size 8 --tasks.vmap 3".split())
    with pytest.raises(BadInput, match="`tasks.vmap=3`: does not divide the 2 tasks of a device"):
        build(config, mesh=task_mesh(4))


def test_a_stop_offers_no_other_checkpoint_to_choose(config, tmp_path):
    """Stopped after its first step, a run validates where an undisturbed one does, and only
    there."""

    class AfterOne(list):
        asked = 0

        def __bool__(self):
            self.asked += 1
            return self.asked > 1

    config = dataclasses.replace(config, workdir=tmp_path / "run")
    assert not trained(config, AfterOne())
    assert losses(config.workdir)[-1][0] == 1
    assert trained(config, [])
    lines = metrics_log.read_metrics(config.workdir / "metrics.jsonl")
    assert [line["step"] for line in lines if "validation_dice" in line] == [2, 4]
    assert open_run(config.workdir).step in (2, 4)


@pytest.mark.parametrize(
    "words",
    [
        "--seed 1 --seed 2",
        "--val-organs a --val_organs=b",
        "--released.as-uint8 --released.no-as-uint8",
        "--config-file a --config-file b",
    ],
)
def test_an_option_given_twice_is_refused_for_the_first_would_be_forgotten(words):
    with pytest.raises(BadInput, match="is given twice: give it once"):
        parse(["unet-maml", *words.split()])
    assert parse(["unet-maml", "--val-organs", "a", "b"])[1].val_organs == ("a", "b")


def test_a_dashboard_that_is_not_installed_is_refused_before_anything_is_made(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setattr(sys, "argv", ["meta_train", "--track", "wandb"])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        run_command(main)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert 'pip install -e ".[wandb]"' in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_dashboards_follow_a_run_and_are_no_part_of_what_it_is(config, tmp_path):
    pytest.importorskip("tensorboardX")
    config = dataclasses.replace(config, workdir=tmp_path / "run", track=("tensorboard",))
    assert not trained(config, [signal.SIGTERM])
    assert list(config.workdir.glob("tensorboard/events.*"))
    assert "track" not in config_file.read_json(config.workdir / "config.json")["config"]
    assert trained(dataclasses.replace(config, track=()), [])


def test_signals_are_as_before_when_training_is_over(config, run):
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    meta_train(config)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_a_configuration_goes_to_json_and_back(config):
    values = json.loads(json.dumps(plain(config)))
    assert from_json(Config, values) == config
    with pytest.raises(BadInput, match="unknown configuration 'sede'"):
        from_json(Config, {"sede": 1})


@pytest.mark.parametrize(
    "values, message",
    [
        (
            {"method": {"type": "mamll"}},
            "'mamll' in a configuration: known are maml, fomaml",
        ),
        ({"seed": "1"}, "'1' in a configuration: should be int"),
        ({"tasks": 3}, "3 in a configuration: should be names and values"),
        ({"data": "shards"}, "'shards' in a configuration: should be a list"),
    ],
)
def test_a_configuration_of_other_types_is_refused(values, message):
    with pytest.raises(BadInput, match=message):
        from_json(Config, values)


def test_a_preset_and_a_file_are_not_mixed(words, tmp_path):
    with pytest.raises(BadInput, match="give one of the two"):
        parse(["transfer", *words[:2]])
    file = tmp_path / "scratch.json"
    file.write_text('{"method": {"type": "scratch"}}')
    name, config = parse(["--config-file", str(file)])
    assert (name, config.algorithm) == ("unet-maml", "scratch")


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_known_to_the_command_line_and_builds(preset, tmp_path):
    name, config = parse([preset, "--seed", "3", "--tasks.shots", "7"])
    assert (name, config.seed, config.tasks.shots) == (preset, 3, 7)
    assert type(config.method) is type(PRESETS[preset].config.method)
    write_size(tmp_path, SIZES["vit-b"])  # all that is read of published weights before data are
    learner = build(dataclasses.replace(config, structures=("a/b",), init_from=tmp_path))
    assert callable(learner.init) and callable(learner.step)


def test_the_preset_for_real_scans_is_what_the_tables_of_real_scans_were_made_with():
    """RESULTS.md, "Real scans, three runs", as its command stood there in full."""
    words = (
        "--tasks.size 64 --tasks.shots 5 --tasks.queries 5 --method.steps 5 --method.test-steps 40 "
        "--method.rate 0.2 --method.decay 1 --method.augment 1 --outer.clip 1 --outer.rate 6e-3 "
        "--augment.task-rotate 45 --augment.task-zoom 0.3 --augment.task-shift 0.1 --steps 800 "
        "--checkpoint-every 200 --validation-tasks 24"
    )
    asked = ["--data", "shards", "--test-organs", "spleen", "--seed", "2"]
    name, config = parse(["real", *asked])
    assert name == "real"
    assert config == parse(["unet-maml", *words.split(), *asked])[1]
    checks.check(config)


def test_a_user_s_mistake_ends_with_one_line_and_2(capsys):
    def mistaken():
        parse(["unet-mamll"])

    with pytest.raises(SystemExit) as ended:
        run_command(mistaken)
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert error.startswith("error: unknown preset 'unet-mamll'") and error.count("\n") == 1


@pytest.mark.parametrize(
    "error, code, told",
    [
        (IsADirectoryError(errno.EISDIR, "Is a directory", "a"), 2, "error: Is a directory: a\n"),
        (Stopped("so"), 143, "so\n"),
        (Stopped("so", signal.SIGINT), 130, "so\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_a_command_ends_with_a_line_and_a_code_that_says_why(error, code, told, capsys):
    def failing():
        raise error

    with pytest.raises(SystemExit) as ended:
        run_command(failing)
    assert ended.value.code == code
    assert "".join(capsys.readouterr()) == told


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_training_that_was_asked_to_end_says_by_what(number, config, tmp_path, monkeypatch):
    def asked_at_once(config, stop, asked):
        signal.raise_signal(number)
        return not stop

    monkeypatch.setattr(train, "trained", asked_at_once)
    with pytest.raises(Stopped, match="goes on where it was") as ended:
        meta_train(config)
    assert ended.value.by == number


def test_a_second_ctrl_c_does_not_wait_for_the_checkpoint():
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), stop_signal() as stop:
        signal.raise_signal(signal.SIGINT)
        assert stop == [signal.SIGINT]
        signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) == before


def test_a_run_begins_with_the_network_of_another(run, config, tmp_path):
    """After no step at all its parameters are the other's, its rates its own."""
    begun = dataclasses.replace(config, init_from=run, steps=0, workdir=tmp_path / "begun")
    assert meta_train(begun)
    theirs, ours = (open_run(folder).state.meta.learned for folder in (run, begun.workdir))
    jax.tree.map(np.testing.assert_array_equal, ours["theta"], theirs["theta"])
    assert all((rate == config.method.rate).all() for rate in jax.tree.leaves(ours["rate"]))


def test_a_run_does_not_begin_with_one_that_learned_what_it_holds_out(run, config, tmp_path):
    leak = dataclasses.replace(
        config, init_from=run, test_organs=("liver",), workdir=tmp_path / "leak"
    )
    with pytest.raises(BadInput, match="was trained on liver, which is held out here: begin with"):
        meta_train(leak)


def test_what_began_with_a_leak_is_a_leak_too(run, config, tmp_path):
    """A run that itself never saw liver began with one that did; and one chosen on heart has seen
    it."""
    second = dataclasses.replace(
        config, init_from=run, train_organs=("kidney",), steps=0, workdir=tmp_path / "second"
    )
    assert meta_train(second)
    _, division = config_file.read_run(second.workdir)
    for organ, how in (("liver", "trained"), ("heart", "chosen")):
        held = division._replace(test_organs=(organ,), val_organs=(), test_patients=())
        with pytest.raises(BadInput, match=f"was {how} on {organ}"):
            network_of(second.workdir, held, config)
    assert network_of(second.workdir, division, config)


def test_a_run_does_not_begin_with_one_that_learned_from_patients_it_holds_out(
    tmp_path, monkeypatch
):
    """Of other organs, and known by their names alone: nothing was trained here."""
    theirs = Split(("liver",), (), (), ("belly/1", "belly/2"), ())
    held = Split(("kidney",), (), ("spleen",), ("belly/3",), ("belly/2",))
    learned = Episodic(Meta({"theta": "a network"}), (), jnp.zeros((), jnp.int32))
    opened = Run(tmp_path, Config(), theirs, learned, 1)
    monkeypatch.setattr(config_file, "read_run", lambda folder: (Config(), theirs))
    monkeypatch.setattr("jaxmeta.runs.run.open_run", lambda folder: opened)
    with pytest.raises(BadInput, match="was trained on belly/2, which is held out here"):
        network_of(tmp_path, held, Config())
    others = held._replace(test_patients=("belly/4",))
    assert network_of(tmp_path, others, Config()) == "a network"


def test_a_run_is_not_tested_on_what_its_beginning_learned_from(run, config, tmp_path):
    """Its own split need not know the organ, nor the patients, that its beginning was trained
    with."""
    blank = Split(("kidney",), (), (), (), ())
    begun = open_run(run)
    shards = open_data(config)
    learned, held = (
        pool(shards, blank, "test", organs=[organ]) for organ in ("liver", config.test_organs[0])
    )

    def found(asked):
        return [leak.text for leak in leaks(begun.provenance, held_by(asked))]

    assert f"{run} was trained on liver, which is held out here" in found(learned)
    tested = set(begun.split.test_patients)
    kept = {
        name: scans
        for entry in held.entries
        for name, scans in entry.patients.items()
        if name in tested
    }
    other = held._replace(entries=tuple(e._replace(patients=kept) for e in held.entries[:1]))
    assert not found(other)
    seen = {name for e in held.entries for name in e.patients} - tested
    assert seen and all(any(f"trained on {name}," in text for text in found(held)) for name in seen)


def test_scratch_begins_with_no_other_run(run, config, tmp_path):
    begun = dataclasses.replace(
        with_method(config, Scratch()), init_from=run, workdir=tmp_path / "scratch"
    )
    with pytest.raises(BadInput, match="`init_from` with scratch"):
        meta_train(begun)
    assert not begun.workdir.exists()


def test_a_network_of_another_width_is_no_beginning(run, config, tmp_path):
    wider = dataclasses.replace(config.network, widths=(8, 16))
    with pytest.raises(BadInput, match="is it of another width or depth"):
        meta_train(
            dataclasses.replace(config, init_from=run, network=wider, workdir=tmp_path / "wider")
        )


def test_structures_of_two_modalities_have_two_names():
    kinds = [("chaos", "liver", "ct", None), ("chaos", "liver", "mr", None)]
    kinds += [("chaos", "liver", "mr", "t1"), ("lits", "liver", "ct", None)]
    entries = [Entry(dataset, organ, {}, mode, channel) for dataset, organ, mode, channel in kinds]
    assert structure_names(entries) == (
        "chaos/liver ct",
        "chaos/liver mr",
        "chaos/liver t1",
        "lits/liver",
    )


def test_pre_training_has_the_rate_of_its_network():
    assert parse(["metamedseg-small-transfer"])[1].outer.rate == 2e-2
    assert parse(["transfer"])[1].outer.rate == 6e-3


def test_a_file_s_network_settles_the_rate_of_pre_training(tmp_path):
    path = tmp_path / "own.json"
    network = {"type": "instance-unet"}
    path.write_text(json.dumps({"method": {"type": "transfer"}, "network": network}))
    config = parse(["--config-file", str(path)])[1]
    assert config.outer.rate == 2e-2 and config.network == InstanceUnet()
