"""What methods and networks ask of the folder that a run begins with, before anybody opens it."""

import json
from pathlib import Path
from typing import Any


def told_of(folder: Path | None) -> dict[str, Any]:
    """Read the configuration of a run as its config.json has it; empty where a folder is no run's,
    and of what begins at random."""
    try:
        config = json.loads((folder / "config.json").read_text("utf-8"))["config"]
        types = config["method"]["type"], config["network"]["type"], config["init_from"]
    except (AttributeError, OSError, ValueError, KeyError, TypeError):
        return {}
    return config if all(isinstance(each, str) for each in types) else {}
