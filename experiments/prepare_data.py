"""Turn folders of NIfTI volumes with labels into slice shards: `jaxmeta.commands.prepare` as a
command."""

from jaxmeta.commands.command import run
from jaxmeta.commands.prepare import main

if __name__ == "__main__":
    run(main)
