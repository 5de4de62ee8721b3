"""The user's own words about files: `ct`, `ct_*=ct`, `1=cord`, `*gmseg*:1=grey`.

A bare word speaks for the files about which no file of the data set says anything; a word with a
pattern speaks for the files that match, whatever is declared.
"""

import re
from fnmatch import fnmatch
from typing import NamedTuple

from jaxmeta.data.found import slug
from jaxmeta.data.intensity import MODALITIES
from jaxmeta.errors import BadInput


class Rule(NamedTuple):
    """One word of --modality or --labels."""

    text: str  # as the user wrote it
    pattern: str | None  # of files; None for a bare word
    value: int  # of the label; 0 for a modality
    word: str  # the modality or the structure


def modality_rule(text: str) -> Rule:
    """Read `ct`, `mr` or `PATTERN=ct`."""
    pattern, told, word = text.rpartition("=")
    if word not in MODALITIES or (told and not pattern):
        raise BadInput(f"--modality {text}: must be ct or mr, or PATTERN=ct, PATTERN=mr")
    return Rule(text, pattern or None, 0, word)


def label_rule(text: str) -> Rule:
    """Read `1=cord` or `PATTERN:1=cord`."""
    match = re.fullmatch(r"(?:(?P<pattern>.+):)?(?P<value>\d+)=(?P<name>[^=]*)", text)
    if not match or not slug(match["name"]) or int(match["value"]) == 0:
        raise BadInput(f"--labels {text}: must be VALUE=NAME or PATTERN:VALUE=NAME, values from 1")
    return Rule(text, match["pattern"], int(match["value"]), slug(match["name"]))


def matches(rule: Rule, *names: str) -> bool:
    """Say whether a rule's pattern fits a name of a file; one with a slash is of names with a slash.

    A bare word fits none.
    """
    if rule.pattern is None:
        return False
    alike = (name for name in names if ("/" in name) == ("/" in rule.pattern))
    return any(fnmatch(name, rule.pattern) for name in alike)
