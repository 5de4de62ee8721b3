"""Names in anybody's own language, in any locale."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.helpers.cohorts import write_scans

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted([*ROOT.glob("jaxmeta/**/*.py"), *ROOT.glob("experiments/**/*.py")])
ASCII = dict(LC_ALL="C", LANG="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
POSITION = dict(read_text=0, write_text=1)  # of the encoding


def mode_of(call: ast.Call, place: int) -> str:
    """Find the mode of a call of `open`; "r" where it says nothing."""
    named = [word.value for word in call.keywords if word.arg == "mode"]
    mode = (call.args[place : place + 1] or named or [ast.Constant("r")])[0]
    return mode.value if isinstance(mode, ast.Constant) and isinstance(mode.value, str) else "r"


def text_without_encoding(source: str) -> list[str]:
    """List the calls that read or write text in the encoding of whatever locale there is."""
    found = []
    for call in ast.walk(ast.parse(source)):
        # `**how` may say it
        if not isinstance(call, ast.Call) or any(
            w.arg in ("encoding", None) for w in call.keywords
        ):
            continue
        function = call.func
        name = getattr(function, "attr", getattr(function, "id", None))
        owner = getattr(getattr(function, "value", None), "id", None)
        if name in POSITION and len(call.args) <= POSITION[name]:
            found.append(f"line {call.lineno}: {name}")
        of_a_file = isinstance(function, ast.Name) or owner in ("path", "file", "part", "gzip")
        if name == "open" and of_a_file:
            place = 1 if isinstance(function, ast.Name) or owner == "gzip" else 0
            if "b" not in mode_of(call, place):
                found.append(f"line {call.lineno}: {name}")
    return found


def test_the_search_finds_what_it_is_for():
    source = """
open(p); open(p, "rb"); open(p, encoding="utf-8"); path.open("w"); path.open("wb"); part.open()
path.read_text(); path.read_text("utf-8"); path.write_text(text); path.write_text(text, "utf-8")
webbrowser.open(address)
"""
    assert [f.split(": ")[1] for f in text_without_encoding(source)].count("open") == 3
    assert len(text_without_encoding(source)) == 5


def test_all_text_has_an_encoding_of_its_own():
    found = {
        str(path.relative_to(ROOT)): calls
        for path in FILES
        if (calls := text_without_encoding(path.read_text("utf-8")))
    }
    assert len(FILES) > 100 and not found


@pytest.mark.slow
@pytest.mark.parametrize("locale", [ASCII, ASCII | dict(PYTHONIOENCODING="ascii"), {}])
def test_scans_in_folders_of_any_name_are_prepared_in_any_locale(tmp_path, locale):
    name = "Größe_肝"
    write_scans(tmp_path / name, ["liver", "niere_ä"], 2, 0)
    output = tmp_path / "Ausgabe_中"
    words = [sys.executable, "-m", "experiments.prepare_data", "--input", str(tmp_path / name)]
    words += ["--output", str(output), "--size", "16"]
    plain = {k: v for k, v in os.environ.items() if not k.startswith(("LC_", "LANG"))}
    done = subprocess.run(
        [os.fsencode(word) for word in words], env=plain | locale, cwd=ROOT, capture_output=True
    )
    assert done.returncode == 0, done.stderr.decode("utf-8", "replace")[-2000:]
    assert b"Traceback" not in done.stderr
    told = done.stdout.decode("utf-8")
    assert "niere_ä" in told or "niere_\\xe4" in told
    parts = json.loads((output / "index.json").read_text("utf-8"))["parts"]
    assert len(parts) == 1
    part = json.loads(next(output.glob("*-*.json")).read_text("utf-8"))
    assert "niere_ä" in json.dumps(part, ensure_ascii=False)
