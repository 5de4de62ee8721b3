"""Which volumes there are to prepare, fully named: the layouts' finds and the user's own words.

A file's own declaration says the modality and the structures' names. The user's bare words (`ct`,
`1=cord`) speak for folders that declare nothing; the user's patterns (`ct_*=ct`, `*gmseg*:1=grey`)
speak for the files that match, whatever is declared. A rule that applies to nothing is a mistake.
"""

import os
import re
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from jaxmeta.data.channel_choice import chosen_channels
from jaxmeta.data.layouts.finding import find_pairs
from jaxmeta.data.layouts.found import Alone, Found, Pair
from jaxmeta.data.names import slug
from jaxmeta.data.orientation import Order
from jaxmeta.data.rules import (
    Rule,
    channel_rule,
    fits,
    label_rule,
    modality_rule,
    rescale_rule,
    scale_for,
)
from jaxmeta.errors import BadInput

PERSON = "person"  # the group of `patient_pattern` that names somebody across data sets
PATIENT = re.compile(r"(.+)_frame\d+")  # ACDC: two phases of one heart
DECLARED_MR = re.compile(r"mr|t1|t2|flair|adc|dwi|pd\b|lge|cine", re.IGNORECASE)


class Case(NamedTuple):
    """One volume to prepare."""

    name: str  # data set / case
    patient: str  # data set / patient
    dataset: str
    modality: str  # "ct" | "mr"
    image: Path
    label: Path | None  # None: nobody labelled it
    names: dict[str, tuple[int, ...]] | None  # structure -> its values; None: v is `prefix` v
    prefix: str = "label_"  # holds the data set: a nameless 1 is not the same organ everywhere
    channel: int | None = None  # of an image that holds several
    channels: tuple[str, ...] = ()  # their declared names
    atlas: bool = False  # `names` are those of an atlas: more than any one label holds
    plane: str | None = None  # that its slices are nearest to, once `planes.py` has said it
    order: Order | None = None  # and how its axes are ordered and flipped
    rescale: tuple[float, float] | None = None  # slope and intercept to HU, where the user told
    files: dict[str, Path] | None = None  # structure -> its own mask, where each has a file


def find_cases(
    folders: Sequence[str | os.PathLike],
    *,
    modality: Sequence[str] = (),
    labels: Sequence[str] = (),
    channel: Sequence[str] = (),
    rescale: Sequence[str] = (),
    patient_pattern: str | None = None,
    same_patients: Sequence[str] = (),
    pair_suffix: str | None = None,
    pairs: Sequence[str] | None = None,
    keep_unlabelled: bool = False,
) -> tuple[list[Case], list[Alone], list[str]]:
    """Find the cases of all folders: (sorted by name, those that cannot be used and why, notes).

    Of data sets of `same_patients` an id is one person, called as in the first of them, whether
    that is among the folders or not.
    """
    modalities = [modality_rule(text) for text in modality]
    names = [label_rule(text) for text in labels]
    channels = [channel_rule(text) for text in channel]
    scales = [rescale_rule(text) for text in rescale]
    if sum(rule.pattern is None for rule in modalities) > 1:
        raise BadInput(f"`modality={' '.join(modality)}`: one bare word at most; give patterns")
    pattern = _compiled(patient_pattern)
    if not folders:
        raise BadInput("no folder of scans is named: name at least one")
    cases, alone, notes, used = [], [], [], set()
    for folder in map(Path, folders):
        how = dict(pair_suffix=pair_suffix, pairs=pairs, keep_unlabelled=keep_unlabelled)
        found = find_pairs(folder, **how)
        used |= {"pairs"} if found.by_patterns else set()
        patients = _patients(folder, found, pattern, used)
        own = [pair._replace(patient=patients[pair.case]) for pair in found.pairs]
        found = found._replace(pairs=own)
        found = found._replace(pairs=chosen_channels(found, channels, used))
        cases += _named(found, modalities, names, scales, used)
        alone += [one._replace(case=f"{found.dataset}/{one.case}") for one in found.alone]
        notes += [f"{folder / file}: not in dataset.json, left out" for file in found.unlisted]
        notes += found.notes
    if pairs and "pairs" not in used:
        raise BadInput(f"`pairs={' '.join(pairs)}`: a dataset.json names the pairs of every folder")
    for rule in modalities + names + channels + scales:
        if rule not in used and not _agrees(rule, cases):
            raise BadInput(_unused(rule))
    if pattern and cases and pattern not in used:
        raise BadInput(f"`patient_pattern={patient_pattern}`: found in no case, as {cases[0].name}")
    cases = _joined(cases, list(map(slug, same_patients)))
    cases.sort(key=lambda case: case.name)
    for one, other in pairwise(cases):
        if one.name == other.name:
            raise BadInput(f"{one.image} and {other.image} are both called {one.name}; rename one")
    return cases, sorted(alone, key=lambda one: one[:2]), notes


def _joined(cases: list[Case], same: list[str]) -> list[Case]:
    """Give patients of data sets that hold the same people the name that the first of these gives
    them."""
    if not same:
        return cases
    datasets = sorted({case.dataset for case in cases})
    if len(set(same)) < 2:
        raise BadInput(f"`same_patients={' '.join(same)}`: name two data sets or more")
    if not set(same) & set(datasets):
        raise BadInput(
            f"`same_patients={' '.join(same)}`: none of these is among {', '.join(datasets)}"
        )
    joined = []
    for case in cases:
        own = case.patient.removeprefix(f"{case.dataset}/")
        theirs = case.dataset in same and own != case.patient
        joined.append(case._replace(patient=f"{same[0]}/{own}") if theirs else case)
    return joined


def _named(found, modalities, names, scales, used):
    """Turn a folder's pairs into cases; put the rules that applied into `used`."""
    kinds = {pair.what for pair in found.pairs}
    told = {pair.case: _modality(found.dataset, pair, modalities, used) for pair in found.pairs}
    mixed = len(set(told.values())) > 1
    cases = []
    for pair in found.pairs:
        plain = pair.what == "" or len(kinds) == 1  # a lone kind of label needs no qualifying
        ct = told[pair.case] == "ct"
        which = found.dataset, pair.case, pair.image
        kind = [told[pair.case]] * mixed + [pair.what] * (not plain)
        cases.append(
            Case(
                name=f"{found.dataset}/{pair.case}",
                patient=pair.patient,
                dataset=found.dataset,
                modality=told[pair.case],
                image=pair.image,
                label=pair.label,
                names=_names(found, pair, names, plain, used),
                prefix="_".join([found.dataset, *kind, "label_"]),
                channel=pair.channel,
                channels=pair.channels,
                atlas=pair.atlas,
                rescale=scale_for(scales, *which, used) if ct else None,
                files=pair.files,
            )
        )
    return cases


def _modality(dataset: str, pair: Pair, rules: list[Rule], used: set) -> str:
    """Say ct or mr; never by looking at voxels."""
    matching = [rule for rule in rules if fits(rule, dataset, pair.case, pair.image)]
    if matching:
        used.update(matching)
        return matching[0].word
    if pair.modality is not None:
        if pair.modality.lower() == "ct":
            return "ct"
        if DECLARED_MR.match(pair.modality):
            return "mr"
    for rule in rules:
        if rule.pattern is None:
            used.add(rule)
            return rule.word
    said = "no file declares" if pair.modality is None else f'"{pair.modality}" does not tell'
    raise BadInput(
        f"{pair.image}: {said} its modality; give `modality=ct` or `modality=mr`, or for some "
        f"files only `modality='{pair.image.name}=ct'`, with * for letters that differ"
    )


def _names(found: Found, pair: Pair, rules: list[Rule], plain: bool, used: set):
    """Give structure -> values for one pair, or None if nobody names any value; an image that
    nobody labelled has none."""
    if pair.files or pair.label is None:
        return None if pair.files else {}
    values = {}  # value -> structure: of several rules the first
    for rule in rules:
        if fits(rule, found.dataset, pair.case, pair.label):
            used.add(rule)
            values.setdefault(rule.value, rule.word)
    declared = pair.names or found.names
    if not values and declared:
        return declared
    for rule in rules:
        if rule.pattern is None and plain:
            used.add(rule)
            values.setdefault(rule.value, rule.word)
    structures = dict.fromkeys(values.values())
    return {s: tuple(v for v in values if values[v] == s) for s in structures} or None


def _patients(folder, found, pattern, used):
    """Give case -> patient: the user's pattern, what the layout knows, NAME_frame01, the case.

    The data set's name comes before it, unless the pattern has a group `person`: whom it names is
    the same person in every data set.
    """
    pairs = found.pairs
    told = {pair.case: pattern and pattern.search(pair.case) for pair in pairs}
    missed = [case for case in told if not told[case]]
    if pattern and len(missed) < len(told):
        used.add(pattern)
        if missed:
            raise BadInput(
                f"{folder}: `patient_pattern={pattern.pattern}` is found in some cases but not in "
                f"{missed[0]}; it must tell the patient of each"
            )
    patients = {}
    for pair in pairs:
        match = told[pair.case] or PATIENT.fullmatch(pair.patient or pair.case)
        if match and match.re.groupindex.get(PERSON) and match[PERSON]:
            patients[pair.case] = match[PERSON]
            continue
        own = match and (match[1] if match.re.groups else match[0])
        patients[pair.case] = f"{found.dataset}/{own or pair.patient or pair.case}"
    return patients


def _agrees(rule, cases):
    """Say whether a bare modality, though nobody had to ask for it, is what the files declare."""
    bare = rule.option == "modality" and rule.pattern is None
    return bare and all(case.modality == rule.word for case in cases)


def _unused(rule):
    if rule.option == "rescale":
        which = f"no CT matches {rule.pattern}" if rule.pattern else "it is for CT, and no scan is"
        return f"`{rule.option}={rule.text}`: {which}"
    if rule.pattern:
        return f"`{rule.option}={rule.text}`: no file matches {rule.pattern}"
    if rule.option == "channel":
        return f"`channel={rule.text}`: no image holds several channels"
    return (
        f"`{rule.option}={rule.text}`: every folder's own files say what they are; to overrule "
        f"them for some files give `{rule.option}='PATTERN{':' if rule.value else '='}{rule.text}'`"
    )


def _compiled(pattern):
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise BadInput(f"`patient_pattern={pattern}`: not a regular expression ({error})") from None
