"""Classes of options: their help stands below their fields, their groups are their bases."""

import dataclasses
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Literal, get_type_hints

import pytest
import tyro

from jaxmeta.options import grouped, options, path_or_none, texts_below, ungrouped


@options
class Fruit:
    """What is picked."""

    apples: int = 3
    """How many, in pieces: a text
    --that goes on below."""
    kind: Literal["any"] | Path = "any"
    """Where a picture of it is; any: nobody looks."""
    silent: bool = False


@options
class Sweet(Fruit):
    apples: int = 5


@options
class Basket(Fruit):
    """All that is carried."""

    _: KW_ONLY
    owner: str
    """Whose it is."""
    names: tuple[str, ...] = ()
    """What is written on it."""


def helps(kind: type) -> dict[str, str]:
    hints = get_type_hints(kind, include_extras=True)
    marks = {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}
    return {name: mark.help for name, found in marks.items() for mark in found}


def test_the_text_below_a_field_is_one_paragraph_of_help():
    assert texts_below(Fruit)["apples"] == "How many, in pieces: a text --that goes on below."
    assert helps(Fruit).keys() == {"apples", "kind"}
    assert helps(Sweet)["apples"] == helps(Fruit)["apples"], "it is the same option"
    assert Sweet().apples == 5 and Fruit(2).apples == 2


def test_options_do_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Fruit().apples = 4


@pytest.mark.parametrize("words", ["--owner me", "--owner me --apples 1 --names a b --silent"])
def test_groups_are_a_way_there_and_back(words):
    asked = ungrouped(Basket, tyro.cli(grouped(Basket), args=words.split()))
    more = dict(apples=1, names=("a", "b"), silent=True) if "1" in words else {}
    assert asked == Basket(owner="me", **more)


def test_each_base_is_a_group_of_its_own(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit):
        tyro.cli(grouped(Basket), args=["--help"])
    told = capsys.readouterr().out
    own, fruit = told.partition("fruit options")[::2]
    assert "--owner" in own and "--names" in own and "(default: none)" in own
    assert "What is picked." in fruit and "--apples" in fruit and "--owner" not in fruit


def test_a_word_stands_for_no_path():
    asked = tyro.cli(grouped(Basket), args=["--owner", "me", "--kind", "there/it.png"])
    assert path_or_none(ungrouped(Basket, asked).kind) == Path("there/it.png")
    assert path_or_none(Basket(owner="me").kind) is None
