"""Segment structures in one's own volumes: `jaxmeta.commands.predict` as a command."""

from jaxmeta.commands.command import run
from jaxmeta.commands.predict import main

if __name__ == "__main__":
    run(main)
