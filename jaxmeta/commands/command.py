"""How every command begins and ends: its words, and 0 for done, 2 for a user's mistake told in one
line, 130 or 143 for stopped by Ctrl-C or SIGTERM, as a shell counts signals."""

import errno
import io
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import tyro

from jaxmeta.errors import BadInput, Stopped
from jaxmeta.options import grouped, ungrouped
from jaxmeta.progress import SPELLING

TOLD_ERRORS = (  # what the disk refuses, and the user can mend
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EROFS,
    errno.ENOENT,
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
)
MODULES = {  # in experiments/, by what `jaxmeta` calls it
    "prepare": "prepare_data",
    "train": "meta_train",
    "test": "meta_test",
    "predict": "predict",
    "compare": "compare",
    "convert-sam": "convert_sam",
}
# What the library's texts name: `jaxmeta predict`, `fill_nan`, `tasks.spacing`, `modality=ct`.
NAMED = re.compile(r"`(?:jaxmeta ([a-z-]+)|([a-z]\w*(?:\.[a-z]\w*)*)(?:=([^`]*))?)`", re.ASCII)

Parsed = TypeVar("Parsed")


def run(main: Callable[[], None]) -> None:
    """Call `main`; turn what a user can mend into one line on stderr and exit code 2."""
    speak_all_languages()
    if isinstance(sys.stdout, io.TextIOWrapper):  # a log or a pipe has each line when it is printed
        sys.stdout.reconfigure(line_buffering=True)
    before = SPELLING.set(spelled)
    try:
        main()
    except Stopped as stop:
        print(stop)
        sys.exit(128 + stop.by)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except BadInput as error:
        fail(spelled(str(error)))
    except BrokenPipeError:
        os._exit(0)
    except OSError as error:
        if error.errno not in TOLD_ERRORS:
            raise
        fail(f"{error.strerror}: {error.filename or 'while writing'}")
    finally:
        SPELLING.reset(before)


def spelled(text: str) -> str:
    """Spell a text of the library as a command line has it: its parameters are options there.

    `fill_nan` becomes --fill-nan, `modality=ct` --modality ct, `tasks.decathlon=False`
    --tasks.no-decathlon, and `jaxmeta predict` what `called` makes of it. Other code stays.
    """
    return NAMED.sub(_spelled, text)


def called(name: str) -> str:
    """Write another command as this one was started: as a module, else as `jaxmeta` has it."""
    return f"python -m experiments.{MODULES[name]}" if _module() else f"jaxmeta {name}"


def _spelled(found: re.Match[str]) -> str:
    command, name, value = found.groups()
    if command:
        return called(command) if command in MODULES else found[0]
    group, dot, last = name.replace("_", "-").rpartition(".")
    if value in ("True", "False"):
        return f"--{group}{dot}{'no-' * (value == 'False')}{last}"
    return f"--{group}{dot}{last}" + (f" {value}" if value is not None else "")


def _module() -> str | None:
    """Name the module of experiments/ that was started, if one was."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    return spec.name if spec and "experiments" in spec.name else None


def speak_all_languages() -> None:
    """Let names of files, and what is printed, be in any language whatever the locale.

    Where the locale has ASCII or Latin letters alone Python would read names of files as broken
    ones and could not write them: the command begins again in Python's UTF-8 mode, the default from
    Python 3.15 on. What a terminal cannot show is printed as an escape.
    """
    if sys.getfilesystemencoding() != "utf-8" and not sys.flags.utf8_mode and sys.executable:
        os.environ["PYTHONUTF8"] = "1"  # for the workers too
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")


def parse_words(kind: type[Parsed], text: str | None) -> Parsed:
    """Parse the words that a command was called with; `text` is its help."""
    refuse_repeated(sys.argv[1:])
    return ungrouped(kind, tyro.cli(grouped(kind), prog=program(), description=described(text)))


def described(text: str | None) -> str | None:
    """Write the examples in a command's text as it was started."""
    for name, module in MODULES.items():
        text = text and re.sub(rf"python -m experiments\.{module}\b", called(name), text)
    return text


def program() -> str:
    """Name the command as it was typed."""
    module = _module()
    return f"python -m {module}" if module else sys.argv[0]


def refuse_repeated(words: Sequence[str]) -> None:
    """Refuse an option that is given twice: the later one would replace the earlier one, unsaid."""
    names = [word.split("=")[0].replace("_", "-") for word in words if word.startswith("--")]
    # --tasks.no-x unsays --tasks.x
    names = [re.sub(r"^(--|.*\.)no-", r"\1", name) for name in names]
    for name in names:
        if names.count(name) > 1:
            raise BadInput(f"{name} is given twice: give it once, with all that belongs to it")


def fail(message: str) -> None:
    """Print one line and leave."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(2)
