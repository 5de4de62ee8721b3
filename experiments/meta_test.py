"""Test a run on organs and patients that it never saw: `jaxmeta.commands.test` as a command."""

from jaxmeta.commands.command import run
from jaxmeta.commands.test import main

if __name__ == "__main__":
    run(main)
