"""What the library names by its parameters, a command spells by its options."""

import sys
from types import SimpleNamespace

import pytest

from jaxmeta.commands import command, main
from jaxmeta.commands.command import run, spelled
from jaxmeta.errors import BadInput
from jaxmeta.progress import say


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("fill them with `fill_nan=VALUE`", "fill them with --fill-nan VALUE"),
        ("`skip_bad` leaves them out", "--skip-bad leaves them out"),
        ("give `modality=ct` or `modality=mr`", "give --modality ct or --modality mr"),
        ("`rescale=1,-1024`: it is for CT", "--rescale 1,-1024: it is for CT"),
        ("`rescale=b*=1,0`: no file", "--rescale b*=1,0: no file"),
        ("by `pairs='image_{id}' 'label_{id}'`", "by --pairs 'image_{id}' 'label_{id}'"),
        ("larger `tasks.size` or `tasks.spacing`", "larger --tasks.size or --tasks.spacing"),
        ("`method.task_weights.rule=target`", "--method.task-weights.rule target"),
        ("`tasks.decathlon=False`", "--tasks.no-decathlon"),
        ("`skip_bad=True` or `skip_bad=False`", "--skip-bad or --no-skip-bad"),
        ("choose with `channel` T1, T2 or 0", "choose with --channel T1, T2 or 0"),
        ("`names=`: given", "--names : given"),
        ("nothing to see at `/data/x`", "nothing to see at `/data/x`"),
        ("a = b, fill_nan and tasks.size", "a = b, fill_nan and tasks.size"),
        ("run `wandb login`, `a = b` or `f(x)`", "run `wandb login`, `a = b` or `f(x)`"),
        ("`jaxmeta predict`, with `box`", "jaxmeta predict, with --box"),
        (
            "`jaxmeta convert-sam` CHECKPOINT `output=X`",
            "jaxmeta convert-sam CHECKPOINT --output X",
        ),
        ("`jaxmeta fly`", "`jaxmeta fly`"),
    ],
)
def test_parameters_become_options(text, wanted):
    assert spelled(text) == wanted
    assert spelled(wanted) == wanted


def test_a_command_is_named_as_this_one_was_started(monkeypatch):
    assert set(command.MODULES) == set(main.COMMANDS)
    started = SimpleNamespace(__spec__=SimpleNamespace(name="experiments.meta_train"))
    monkeypatch.setitem(sys.modules, "__main__", started)
    assert spelled("run `jaxmeta prepare` again") == "run python -m experiments.prepare_data again"
    assert command.called("convert-sam") == "python -m experiments.convert_sam"
    for spec in (None, SimpleNamespace(name="pytest.__main__")):
        monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
        assert spelled("run `jaxmeta prepare` again") == "run jaxmeta prepare again"


def test_lines_and_errors_are_spelled_while_a_command_runs_and_not_before_or_after(capsys):
    def refuses():
        say("note: `val_organs=NAME` names some")
        say("warning: `jaxmeta test` it", sys.stderr)
        raise BadInput("give another `workdir`")

    say("`workdir` before")
    with pytest.raises(SystemExit) as left:
        run(refuses)
    say("`workdir` after")
    told = capsys.readouterr()
    assert left.value.code == 2
    assert told.out == "`workdir` before\nnote: --val-organs NAME names some\n`workdir` after\n"
    assert told.err == "warning: jaxmeta test it\nerror: give another --workdir\n"
