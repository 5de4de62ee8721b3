"""Compare runs that were tested one by one: `jaxmeta.commands.compare` as a command."""

from jaxmeta.commands.command import run
from jaxmeta.commands.compare import main

if __name__ == "__main__":
    run(main)
