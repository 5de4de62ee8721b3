"""The commands as a checkout has them (`jaxmeta.commands` does the work), benchmarks, studies."""

import os

# XLA takes a compilation of two minutes for a bug to be filed, and says so at the level of its
# errors; no option asks it not to. What fails raises in Python as ever, and what ends the process
# (level 3) is told. Read when JAX is first imported, so it stands here; who has set it sees what
# they asked for.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
