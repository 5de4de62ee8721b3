"""The command `jaxmeta`: the same functions as `python -m experiments.…`, under one name."""

import importlib
import os
import sys

from jaxmeta import __version__
from jaxmeta.commands.command import run
from jaxmeta.errors import BadInput

COMMANDS = {
    "prepare": "turn folders of NIfTI volumes with labels into slice shards",
    "train": "meta-train on organs that have labels; without --data on phantoms",
    "test": "test a run on organs and patients that it never saw",
    "predict": "segment structures in one's own volumes",
    "compare": "compare runs that were tested one by one",
    "convert-sam": "convert published weights of Segment Anything",
}
USAGE = "\n".join(
    [
        "usage: jaxmeta COMMAND [options]",
        "",
        *(f"    {name:12} {text}" for name, text in COMMANDS.items()),
        "",
        "jaxmeta COMMAND --help tells a command's options; jaxmeta --version the version.",
    ]
)


def main() -> None:
    """Call the command that the first word names."""
    run(named_command)


def named_command() -> None:
    """Take the first word as the command's name, and leave it the others."""
    name = sys.argv[1] if len(sys.argv) > 1 else "--help"
    if name in ("-h", "--help"):
        print(USAGE)
        return
    if name in ("-V", "--version"):
        print(f"jaxmeta {__version__}")
        return
    if name not in COMMANDS:
        raise BadInput(f"unknown command {name!r}: known are {', '.join(COMMANDS)}")
    # XLA's own log, which alarms of every slow compilation, begins at its errors
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    del sys.argv[1]
    sys.argv[0] = f"jaxmeta {name}"  # as --help calls it
    importlib.import_module(f"jaxmeta.commands.{name.replace('-', '_')}").main()
