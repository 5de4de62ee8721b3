"""The documentation is of this version: what is generated is fresh, links lead somewhere, and the
commands that are quoted parse."""

import ast
import contextlib
import functools
import io
import re
import shlex
import tokenize
from pathlib import Path

import pytest

from experiments.studies import command_lines, docs, docs_options
from jaxmeta.commands.main import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
PAGES = {str(p.relative_to(ROOT)): p.read_text() for p in sorted(ROOT.glob("docs/**/*.md"))}
MADE = docs.pages()
WRITTEN = {name: text for name, text in PAGES.items() if name not in MADE}
TEXTS = {
    **WRITTEN,
    **{name: (ROOT / name).read_text() for name in ("README.md", "CONTRIBUTING.md")},
}
MODULES = command_lines.modules() | {
    f"jaxmeta {name}": f"jaxmeta.commands.{name.replace('-', '_')}" for name in COMMANDS
}
FOREIGN = {"--check", "--logdir"}  # of ruff and TensorBoard


@pytest.mark.parametrize("name, text", MADE.items(), ids=list(MADE))
def test_generated_pages_are_fresh(name, text):
    assert PAGES.get(name) == text, "run python -m experiments.studies.docs"


def test_the_readme_is_short():
    assert len(TEXTS["README.md"].splitlines()) <= 120


def test_every_page_is_in_the_table_of_contents():
    (contents,) = (text for name, text in PAGES.items() if name == "docs/README.md")
    linked = {(ROOT / "docs" / to).resolve() for to in re.findall(r"\]\(([^)#]+)", contents)}
    pages = {(ROOT / name).resolve() for name in PAGES} - {ROOT / "docs" / "README.md"}
    assert pages <= linked, sorted(map(str, pages - linked))


def test_the_map_of_the_package_has_every_folder_and_file():
    there = [path for path in (ROOT / "jaxmeta").iterdir() if not path.name.startswith("_")]
    names = {path.name if path.suffix else f"{path.name}/" for path in there}
    text = TEXTS["docs/how-it-works.md"].partition("## Where things stand")[2]
    rows = re.findall(r"^\| (.*?) \|", text, re.MULTILINE)
    assert names == {name for row in rows for name in re.findall(r"`([^`]+)`", row)}


def prose(text: str) -> str:
    """Drop what stands in code."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"`[^`\n]*`", "code", text)


def anchors(text: str) -> set[str]:
    """Give the anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("name", [*PAGES, "README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_to_what_is_there(name):
    for to in re.findall(r"\]\(([^)\s]+)\)", prose((ROOT / name).read_text())):
        if re.match(r"\w+:", to):
            continue
        path, _, anchor = to.partition("#")
        target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
        assert target.exists(), f"{name}: {to}"
        if anchor:
            assert anchor in anchors(target.read_text()), f"{name}: {to}"


def quoted(text: str) -> list[tuple[str, list[str]]]:
    """List the commands of a page that are written out: (module, words)."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"^    (.+)$", text, re.MULTILINE)
    lines += re.findall(r"`([^`\n]+)`", text)
    found = []
    for line in lines:
        for part in re.split(r" (?:&&|\|) ", line.strip().removeprefix("srun ")):
            match = re.match(r"(?:python -m (experiments[\w.]+)|(jaxmeta [\w-]+))(?:\s|$)", part)
            if match and "…" not in part:
                found.append(
                    (match[1] or match[2], shlex.split(part[match.end() :], comments=True))
                )
    return found


COMMAND_LINES = [(page, *command) for page, text in TEXTS.items() for command in quoted(text)]


@pytest.mark.parametrize(
    "page, name, words", COMMAND_LINES, ids=[f"{p} {n} {' '.join(w)}" for p, n, w in COMMAND_LINES]
)
def test_every_command_that_is_quoted_parses(page, name, words):
    assert name in MODULES, f"{page}: no command {name}"
    if not words:
        return
    told = io.StringIO()
    try:
        with contextlib.redirect_stdout(told), contextlib.redirect_stderr(told):
            command_lines.parse(MODULES[name], words)
    except SystemExit:
        pytest.fail(f"{page}: {name} {shlex.join(words)}\n{told.getvalue()}")


def test_commands_are_quoted_and_wrong_ones_would_be_seen():
    assert len([words for _, _, words in COMMAND_LINES if words]) >= 20
    for words in (["--shotz", "5"], ["real", "--algorithm", "malm"]):
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            with pytest.raises(SystemExit):
                command_lines.parse(MODULES["experiments.meta_train"], words)


@functools.cache
def known() -> set[str]:
    """List every option of every command."""
    found = {"--help", "--version"}
    found |= set(re.findall(r"^\| `(--[\w.-]+)`", MADE["docs/reference/options.md"], re.MULTILINE))
    for module in MODULES.values():  # those that are read before the others
        found |= set(re.findall(r"(?<!\w)--[a-z][\w.-]*\w", docs_options.module(module).__doc__))
    return found | {re.sub(r"--(.*\.)?", r"--\1no-", name) for name in found}


@pytest.mark.parametrize("page", TEXTS)
def test_every_option_that_is_named_exists(page):
    named = set(re.findall(r"(?<![\w-])--[a-z][\w.-]*\w", TEXTS[page]))
    assert not named - known() - FOREIGN, page


SOURCES = [p for part in ("jaxmeta", "experiments", "tests") for p in (ROOT / part).rglob("*.py")]


def told(path: Path) -> str:
    """Give the docstrings and the comments of a source."""
    text = path.read_text("utf-8")
    holders = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(ast.parse(text)) if isinstance(node, holders)]
    tokens = tokenize.generate_tokens(io.StringIO(text).readline)
    comments = [token.string for token in tokens if token.type == tokenize.COMMENT]
    return "\n".join([ast.get_docstring(node) or "" for node in nodes] + comments)


def files_named(text: str) -> set[str]:
    """Find the Python files that a text names, by a path or by their name alone."""
    return set(re.findall(r"(?<![\w./*{<-])(?:\w+/)*\w+\.py\b", text))


def test_files_that_docstrings_and_comments_name_are_there():
    there = [f"/{path.relative_to(ROOT)}" for path in SOURCES]
    for path in SOURCES:
        for name in files_named(told(path)):
            assert any(own.endswith(f"/{name}") for own in there), f"{path}: {name}"


def test_a_file_that_is_named_is_seen():
    text = "as `runs/config.py` (index.py) has it; no name is *.py, `a.b.py` or {name}.py"
    assert files_named(text) == {"runs/config.py", "index.py"}


def messages() -> list[str]:
    """List the messages that the page of troubles quotes."""
    return re.findall(r"\*\*`([^`]+)`", TEXTS["docs/troubleshooting.md"])


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{3,}", text.lower()))


@functools.cache
def texts() -> list[set[str]]:
    """Give the words of every text in the package's source."""
    trees = [ast.parse(path.read_text()) for path in ROOT.glob("jaxmeta/**/*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    plain = [n.value for n in nodes if isinstance(n, ast.Constant) and isinstance(n.value, str)]
    mixed = [n.values for n in nodes if isinstance(n, ast.JoinedStr)]
    mixed = [" ".join(v.value for v in n if isinstance(v, ast.Constant)) for n in mixed]
    return [words(text) for text in plain + mixed if "\n" not in text]  # which docstrings have


@pytest.mark.parametrize("message", [m for m in messages() if "module" not in m.lower()])
def test_a_message_that_is_quoted_is_still_told(message):
    """By half of its words at least: what differs from case to case is not in the source."""
    told = max(len(words(message) & text) for text in texts())
    assert told >= 0.5 * len(words(message)), "no message of the package is like it"
