"""What the library names by its parameters, a command spells by its options."""

import ast
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from jaxmeta.commands import command, main
from jaxmeta.commands.command import MODULES as COMMANDS
from jaxmeta.commands.command import NAMED, run, spelled
from jaxmeta.errors import BadInput
from jaxmeta.progress import say
from tests.test_layout import MODULES, within

OPTION = re.compile(r"(?<![\w-])--[a-z{]")
STYLES = "jaxmeta.reports.html"  # whose colors have names of that form
LIBRARY = {
    name: ast.parse(path.read_text("utf-8"))
    for name, path in MODULES.items()
    if within(name, "jaxmeta") and not within(name, "jaxmeta.commands") and name != STYLES
}


def texts(tree: ast.AST) -> list[str]:
    """List the texts of a source that are no docstrings, with {} for what is put into them."""
    told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            told |= {id(part) for part in node.values}
            parts = (getattr(part, "value", None) for part in node.values)
            found.append("".join(part if isinstance(part, str) else "{}" for part in parts))
    every = (node for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return found + [n.value for n in every if isinstance(n.value, str) and id(n) not in told]


def fields(path: Path) -> set[str]:
    """List the fields of a file's dataclasses: the options, and the groups of them."""
    classes = (
        n for n in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(n, ast.ClassDef)
    )
    return {
        field.target.id
        for each in classes
        if each.decorator_list
        for field in each.body
        if isinstance(field, ast.AnnAssign)
    }


@pytest.mark.parametrize("name", LIBRARY)
def test_no_text_of_the_library_names_an_option_of_a_command(name):
    assert not [text for text in texts(LIBRARY[name]) if OPTION.search(text)]


def test_what_the_library_names_is_a_parameter_or_a_command():
    known = set().union(
        *(fields(path) for name, path in MODULES.items() if within(name, "jaxmeta"))
    )
    found = [named for tree in LIBRARY.values() for t in texts(tree) for named in NAMED.finditer(t)]
    assert len(found) > 100
    for named in found:
        program, option, _ = named.groups()
        assert program in COMMANDS if program else set(option.split(".")) <= known, named[0]


def test_texts_are_found_in_every_form():
    tree = ast.parse("def f(x):\n    'no --a'\n    return f'{x} --b' + f'--{x}' + ('c ' '--d')")
    assert texts(tree) == ["{} --b", "--{}", "c --d"]
    assert all(OPTION.search(text) for text in ("{} --b", "--{}", "c --d"))
    assert not OPTION.search("one -- two --- a--b")


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
