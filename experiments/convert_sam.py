"""Convert published weights of Segment Anything: `jaxmeta.commands.convert_sam` as a command."""

from jaxmeta.commands.command import run
from jaxmeta.commands.convert_sam import main

if __name__ == "__main__":
    run(main)
