"""What differs between the run that a folder holds and the one that is asked for, in a line."""

from typing import Any

from jaxmeta.runs.config import Config, to_json
from jaxmeta.runs.identity import flat

SHOWN = 12  # names of a list that changed
# Of Config, by the run itself.
FILLED = ("structures", "axis", "planes", "frames", "modality", "channel", "pixels")


def changed(stands: dict, told: dict) -> list[str]:
    """List what differs of what a folder holds, as old -> new; of lists, what is gone and what
    came.

    What a run fills in follows from the rest, and is listed where nothing else differs. A setting
    that an earlier version did not know was as it is by default, and what such a run did not fill
    in is no difference.
    """
    usual = flat(to_json(Config()))
    found, filled = [], []
    for part, values in told.items():
        before = flat(stands.get(part, {}))
        for name, value in flat(values).items():
            if name not in before and name in FILLED:
                continue
            old = before.get(name, usual.get(name))
            if old != value:
                (filled if name in FILLED else found).append(f"{name} {change_text(old, value)}")
    return list(dict.fromkeys(found)) or filled


def change_text(old: Any, new: Any) -> str:
    """Write a change; of two lists only what one has and the other has not, where that is all."""
    if isinstance(old, list) and isinstance(new, list) and set(map(str, old)) != set(map(str, new)):
        gone = [f"-{each}" for each in old if each not in new]
        came = [f"+{each}" for each in new if each not in old]
        more = [f"and {len(gone + came) - SHOWN} more"] if len(gone + came) > SHOWN else []
        return " ".join([*(gone + came)[:SHOWN], *more])
    return f"{value_text(old)} -> {value_text(new)}"


def value_text(value: Any) -> str:
    """Write a value as on the command line, or "none" where there is none."""
    if isinstance(value, list):
        return " ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)
