"""Meta-train on organs that have labels: `jaxmeta.commands.train` as a command."""

from jaxmeta.commands.command import run
from jaxmeta.commands.train import main

if __name__ == "__main__":
    run(main)
