"""The installed command `jaxmeta`: its help, its version, its commands, and its exit codes."""

import importlib
import re
import subprocess
import sys

import pytest

import jaxmeta
from jaxmeta.commands import main as command
from jaxmeta.commands.command import run


def called(monkeypatch, *words: str) -> int:
    """Call `jaxmeta` with words; return its exit code."""
    monkeypatch.setattr(sys, "argv", ["jaxmeta", *words])
    try:
        command.main()
    except SystemExit as left:
        return left.code or 0
    return 0


def test_help_tells_every_command(monkeypatch, capsys):
    for words in ((), ("--help",), ("-h",)):
        assert called(monkeypatch, *words) == 0
        told = capsys.readouterr().out
        assert re.findall(r"^    (\S+)", told, re.MULTILINE) == list(command.COMMANDS)


def test_version_is_the_package_s(monkeypatch, capsys):
    assert called(monkeypatch, "--version") == 0
    assert capsys.readouterr().out == f"jaxmeta {jaxmeta.__version__}\n"
    assert re.match(r"\d+[.+]", jaxmeta.__version__)


@pytest.mark.parametrize("name", command.COMMANDS)
def test_every_command_tells_its_options(name, monkeypatch, capsys):
    assert called(monkeypatch, name, "--help") == 0
    told = capsys.readouterr().out
    assert f"usage: jaxmeta {name}" in told
    assert "python -m experiments" not in told, "its examples are as it was started"
    assert "--" in told.partition("-h, --help")[2], "it has options of its own"
    module = importlib.import_module(f"jaxmeta.commands.{name.replace('-', '_')}")
    assert module.__doc__.split()[0] in told


@pytest.mark.parametrize("words", [("trian",), ("--verbose",), ("Train", "--help")])
def test_an_unknown_command_is_one_line_and_exit_code_2(words, monkeypatch, capsys):
    assert called(monkeypatch, *words) == 2
    told = capsys.readouterr()
    assert told.out == "" and told.err.count("\n") == 1
    assert f"unknown command '{words[0]}': known are prepare, train" in told.err


def test_help_and_version_wait_for_nothing():
    told = "import sys; from jaxmeta.commands import main; sys.argv[1:] = ['--version'];"
    told += "main.main(); assert not {'jax', 'nibabel'} & set(sys.modules)"
    ended = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr


def test_both_names_of_a_command_are_one_function():
    assert run is importlib.import_module("experiments.meta_train").run
    for module in ("prepare_data", "meta_train", "meta_test", "predict", "compare", "convert_sam"):
        main = importlib.import_module(f"experiments.{module}").main
        names = [name.replace("-", "_") for name in command.COMMANDS]
        assert main.__module__ in {f"jaxmeta.commands.{name}" for name in names}
