"""The user's own words about files: `ct`, `ct_*=ct`, `1=cord`, `*gmseg*:1=grey`, `brats*=FLAIR`,
and `1,-1024` of `rescale`.

A bare word speaks for the files about which no file of the data set says anything; a word with a
pattern speaks for the files that match, whatever is declared.
"""

import math
import re
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import NamedTuple

from jaxmeta.data.intensity import MODALITIES
from jaxmeta.data.names import slug
from jaxmeta.errors import BadInput


class Rule(NamedTuple):
    """One word of `modality`, `labels`, `channel` or `rescale`."""

    option: str  # which of these
    text: str  # as the user wrote it
    pattern: str | None  # of files; None for a bare word
    word: str  # the modality, the structure, the channel or the slope and intercept
    value: int = 0  # of the label


def modality_rule(text: str) -> Rule:
    """Read `ct`, `mr` or `PATTERN=ct`."""
    pattern, told, word = text.rpartition("=")
    if word not in MODALITIES or (told and not pattern):
        raise BadInput(f"`modality={text}`: must be ct or mr, or PATTERN=ct, PATTERN=mr")
    return Rule("modality", text, pattern or None, word)


def label_rule(text: str) -> Rule:
    """Read `1=cord` or `PATTERN:1=cord`."""
    match = re.fullmatch(r"(?:(?P<pattern>.+):)?(?P<value>\d+)=(?P<name>[^=]*)", text)
    if not match or not slug(match["name"]) or int(match["value"]) == 0:
        raise BadInput(f"`labels={text}`: must be VALUE=NAME or PATTERN:VALUE=NAME, values from 1")
    return Rule("labels", text, match["pattern"], slug(match["name"]), int(match["value"]))


def channel_rule(text: str) -> Rule:
    """Read `FLAIR`, `0`, `PATTERN=FLAIR` or `PATTERN=0`."""
    pattern, told, word = text.rpartition("=")
    if not slug(word) or (told and not pattern):
        raise BadInput(
            f"`channel={text}`: must be NAME, NUMBER from 0, PATTERN=NAME or PATTERN=NUMBER"
        )
    return Rule("channel", text, pattern or None, word)


def rescale_rule(text: str) -> Rule:
    """Read `SLOPE,INTERCEPT` or `PATTERN=SLOPE,INTERCEPT`: what turns a CT's numbers to HU."""
    pattern, told, word = text.rpartition("=")
    try:
        slope, intercept = map(float, word.split(","))
    except ValueError:
        slope, intercept = 0.0, 0.0
    if not (math.isfinite(slope * intercept) and slope) or (told and not pattern):
        raise BadInput(
            f"`rescale={text}`: must be SLOPE,INTERCEPT or PATTERN=SLOPE,INTERCEPT, as 1,-1024 "
            "(SLOPE x value + INTERCEPT is HU)"
        )
    return Rule("rescale", text, pattern or None, word)


def scale_for(
    rules: Sequence[Rule], dataset: str, case: str, file: Path, used: set[Rule]
) -> tuple[float, float] | None:
    """Give the slope and intercept that a user told for a CT, by a pattern or for all; None
    without.

    The rule that applied is put into `used`.
    """
    own = [rule for rule in rules if fits(rule, dataset, case, file)]
    own += [rule for rule in rules if rule.pattern is None]
    if not own:
        return None
    used.add(own[0])
    slope, intercept = map(float, own[0].word.split(","))
    return slope, intercept


def fits(rule: Rule, dataset: str, case: str, file: Path) -> bool:
    """Say whether a rule's pattern fits a file's name or its case; one with a slash, data set/case.

    A bare word fits none.
    """
    if rule.pattern is None:
        return False
    names = (f"{dataset}/{case}",) if "/" in rule.pattern else (file.name, case)
    return any(fnmatch(name, rule.pattern) for name in names)
