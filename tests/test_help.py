"""What `--help` shows: for every command, preset and benchmark short groups, and of each option
what happens where nobody names it."""

import importlib
import re
import sys

import pytest

from experiments.studies import command_lines
from jaxmeta.runs.presets import PRESETS

LONGEST = 80  # lines of a group, on a terminal of 100 columns
TRAIN = "experiments.meta_train"
MODULES = command_lines.modules()
BENCHMARKS = command_lines.asked(MODULES["experiments.benchmark"]).kind
SILENT = {"experiments.studies.docs"}  # which takes no words
ASKED = [
    *((name,) for name in MODULES if name not in SILENT),
    *((TRAIN, preset) for preset in PRESETS),
    *(("experiments.benchmark", each) for each in BENCHMARKS),
]


@pytest.fixture
def helped(monkeypatch, capsys):
    """Give a function that calls a command for its help."""

    def help_of(name: str, *words: str) -> str:
        monkeypatch.setenv("COLUMNS", "100")
        monkeypatch.setattr(sys, "argv", [name, *words, "--help"])
        with pytest.raises(SystemExit) as left:
            importlib.import_module(MODULES[name]).main()
        assert not left.value.code
        return capsys.readouterr().out

    return help_of


def groups(text: str) -> dict[str, list[str]]:
    """Give the lines of each group by its title: plain ones, as where no terminal is."""
    _, *found = re.split(
        r"^ ([\w. -]*(?:options|subcommands)) *\n -+ *\n", text, flags=re.MULTILINE
    )
    return {title: body.splitlines() for title, body in zip(found[::2], found[1::2], strict=True)}


def options_of(lines: list[str]) -> dict[str, str]:
    """Give what is said of each option of a group."""
    parts = re.split(r"^(?=  --[a-z])", "\n".join(lines), flags=re.MULTILINE)
    return {part.split()[0].rstrip(","): " ".join(part.split()) for part in parts[1:]}


@pytest.mark.parametrize("words", ASKED, ids=" ".join)
def test_help_is_short_and_says_what_happens_unasked(words, helped):
    text = helped(*words)
    assert "None" not in text
    found = groups(text)
    assert found, text
    for title, lines in found.items():
        assert len(lines) <= LONGEST, f"{title}: {len(lines)} lines"
        for name, said in options_of(lines).items():
            assert re.search(r"\((default: ?.*|required)\)$", said), f"{name}: {said}"
            assert len(re.sub(r"\((default|required).*", "", said).split()) > 3, f"{name}: {said}"


def test_a_preset_shows_the_options_that_it_has_alone(helped):
    names = {name: set() for name in PRESETS}
    for preset in PRESETS:
        for lines in groups(helped(TRAIN, preset)).values():
            names[preset] |= options_of(lines).keys()
    assert "--tasks.width" in names["ssm-sam-tiny"] - names["unet-maml"]
    assert "--method.steps" in names["maml"] - names["transfer"]
    assert "--network.widths" in names["metamedseg"] - names["sam-tiny"]


def test_the_presets_are_listed_with_minutes_and_memory(helped):
    lines = helped(TRAIN).partition("Presets")[2].partition("\n\n")[0].splitlines()
    told = {line.split()[0]: line for line in lines if line.split() and line.split()[0] in PRESETS}
    assert set(told) == set(PRESETS)
    for name, preset in PRESETS.items():
        assert preset.minutes in told[name] and preset.memory in told[name], told[name]
