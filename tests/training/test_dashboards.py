"""Whatever follows a run shows what `metrics.jsonl` says, however often it was killed and
resumed."""

import json
import struct
import sys
import types
from functools import partial
from pathlib import Path

import pytest

from jaxmeta.errors import BadInput
from jaxmeta.training import dashboards
from jaxmeta.training.metrics_log import read_metrics, write_metrics

NAMES = ("belly/liver", "chest/lung")
TOLD = dict(config={"seed": 3, "steps": 9}, structures=NAMES)
TENSORBOARD, WANDB = (partial(d, **TOLD) for d in (dashboards.tensorboard, dashboards.wandb))


def values(step: int) -> dict:
    return dict(loss=1 / step, structures=[1, 1, 0], task_dice=[0.5, 0.75, 1.0], seconds=0.25)


def follow(folder: Path, *followers, after: int = 0, until: int) -> None:
    """Tell the steps behind `after`; validate at each second one."""
    with write_metrics(folder, followers, after=after) as write:
        for step in range(after + 1, until + 1):
            write(step, values(step))
            if step % 2 == 0:
                write(step, dict(validation_dice=step / 10))


def shown(lines: list[dict]) -> dict:
    """What of some lines a dashboard should show, by step."""
    rows = {}
    for line in lines:
        rows.setdefault(line["step"], {}).update(dashboards.scalars(line, NAMES))
    return rows


def test_the_scalars_of_a_line_have_names_to_group_by():
    assert dashboards.scalars(dict(step=3) | values(4), NAMES) == {
        "train/loss": 0.25,
        "train/dice/chest/lung": 0.625,
        "train/dice/belly/liver": 1.0,
        "time/seconds_a_step": 0.25,
    }
    assert dashboards.scalars(dict(validation_dice=0.5), NAMES) == {"eval/dice": 0.5}


def test_a_dashboard_is_opened_with_the_past_told_all_that_is_written_and_closed_in_any_case(
    tmp_path,
):
    follow(tmp_path, until=5)
    seen = []

    class Board:
        def __init__(self, folder, past):
            seen.append((folder, past))

        def __enter__(self):
            return lambda step, values: seen.append((step, values))

        def __exit__(self, kind, *_):
            seen.append(kind)

    with pytest.raises(ZeroDivisionError), write_metrics(tmp_path, [Board], after=4) as write:
        write(5, dict(loss=2.0))
        raise ZeroDivisionError
    folder, past = seen[0]
    assert folder == tmp_path and past[-1] == dict(step=4, validation_dice=0.4) and len(past) == 6
    assert seen[1:] == [(5, dict(loss=2.0)), ZeroDivisionError]
    assert read_metrics(tmp_path / "metrics.jsonl") == [*past, dict(step=5, loss=2.0)]


def events(folder: Path) -> list:
    """Read what TensorBoard reads: records of a length, its checksum, the event, its checksum."""
    from tensorboardX.proto.event_pb2 import Event

    found = []
    for path in sorted(folder.glob("events.*")):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


def test_tensorboard_shows_the_record_after_a_kill_a_pause_and_a_late_start(tmp_path):
    """Steps 5 and 6 were told before a kill, and are repeated; steps 7 and 8 had no dashboard."""
    pytest.importorskip("tensorboardX")
    follow(tmp_path, until=2)
    follow(tmp_path, TENSORBOARD, after=2, until=6)
    (first,) = tmp_path.glob("tensorboard/events.*")
    first.rename(first.with_name("events.out.tfevents.0000000001"))  # a name tells the second
    follow(tmp_path, after=4, until=8)
    follow(tmp_path, TENSORBOARD, after=8, until=9)
    assert len(list(tmp_path.glob("tensorboard/events.*"))) == 2
    found, texts = {}, []
    for event in events(tmp_path / "tensorboard"):
        if event.session_log.status == event.session_log.START and event.step == 0:
            found, texts = {}, []  # as TensorBoard drops what it has read
        for value in event.summary.value:
            if value.HasField("tensor"):
                texts.append(value.tensor.string_val[0].decode())
            else:
                assert value.tag not in found.setdefault(event.step, {})
                found[event.step][value.tag] = value.simple_value
    record = shown(read_metrics(tmp_path / "metrics.jsonl"))
    assert found.keys() == record.keys() == set(range(1, 10))
    for step, row in record.items():
        assert found[step] == pytest.approx(row, rel=1e-6)
    assert [json.loads(text) for text in texts] == [TOLD["config"]]


class FakeWandb(types.ModuleType):
    """W&B as far as it is used: the rows of each run by its id, and steps that only rise."""

    __file__ = "wandb/__init__.py"

    class Error(Exception):
        pass

    def __init__(self, online: bool):
        super().__init__("wandb")
        self.online, self.runs, self.inits, self.ended = online, {}, [], []

    def init(self, **told):
        self.inits.append(told)
        if not self.online:
            self.runs.pop(told["id"], None)
        rows = self.runs.setdefault(told["id"], {})
        ended = self.ended

        class Run:
            step = max(rows, default=-1) + 1

            def log(self, values, step):
                assert step >= max(rows, default=0), "W&B would drop this"
                rows.setdefault(step, {}).update(values)

            def __enter__(self):
                return self

            def __exit__(self, kind, *_):
                ended.append(kind)

        return Run()


@pytest.mark.parametrize("online", [True, False])
def test_wandb_has_one_run_with_every_step_once_after_a_kill_a_pause_and_a_late_start(
    tmp_path, monkeypatch, online
):
    wandb = FakeWandb(online)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    follow(tmp_path, until=2)
    follow(tmp_path, WANDB, after=2, until=6)
    follow(tmp_path, after=4, until=8)
    follow(tmp_path, WANDB, after=8, until=9)
    (rows,) = wandb.runs.values()
    assert rows == shown(read_metrics(tmp_path / "metrics.jsonl"))
    assert len(wandb.inits) == 2 and wandb.inits[0] == wandb.inits[1]
    told = wandb.inits[0]
    assert (told["name"], told["dir"], told["resume"]) == (tmp_path.name, tmp_path, "allow")
    assert told["config"] == TOLD["config"] and told["project"] == "jaxmeta"


def test_a_run_that_failed_is_marked_so_at_wandb(tmp_path, monkeypatch):
    wandb = FakeWandb(online=True)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    with pytest.raises(ZeroDivisionError), write_metrics(tmp_path, [WANDB], after=0):
        raise ZeroDivisionError
    assert wandb.ended == [ZeroDivisionError]


def test_what_wandb_refuses_is_told_with_the_ways_out(tmp_path, monkeypatch):
    wandb = FakeWandb(online=True)
    monkeypatch.setitem(sys.modules, "wandb", wandb)

    def init(**_):
        raise wandb.Error("no API key")

    monkeypatch.setattr(wandb, "init", init)
    with pytest.raises(BadInput, match="no API key; run `wandb login`, or set WANDB_MODE=offline"):
        follow(tmp_path, WANDB, until=1)


@pytest.mark.parametrize("name", dashboards.PACKAGES)
def test_a_package_that_is_not_there_is_named_with_its_command(name, monkeypatch):
    monkeypatch.setitem(sys.modules, dashboards.PACKAGES[name], None)
    with pytest.raises(BadInput) as refused:
        dashboards.package(name)
    assert f'`track={name}` needs {dashboards.PACKAGES[name]}: pip install -e ".[{name}]"' in str(
        refused.value
    )


def test_a_folder_that_is_only_called_wandb_is_no_package(tmp_path, monkeypatch):
    (tmp_path / "wandb").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    with pytest.raises(BadInput, match="only a folder of that name is here"):
        dashboards.package("wandb")
    sys.modules.pop("wandb")
