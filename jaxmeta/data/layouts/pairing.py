"""Images and labels paired by patterns of names: the user's `pairs`, or the only ones possible.

    'image_{id}' 'label_{id}'        image_21.nii.gz, label_21.nii.gz
    'scans/{id}' 'masks/{id}_seg'    two folders
    '{id}/ct' '{id}/mask'            a folder a patient

`{id}` is what a pair shares and is the case's name; of several that differ the first is the
patient. `*` is anything. Neither goes beyond a slash. Without `pairs` the words for image and
label are taken off the names (words.py), and a pairing is believed if there is only one.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from jaxmeta.data.formats.formats import by_stem, images_among, kinds, without_ending
from jaxmeta.data.layouts.found import Alone, Found, Pair
from jaxmeta.data.names import amount, slug, three
from jaxmeta.data.words import template
from jaxmeta.errors import BadInput

Ids = tuple[str, ...]
DEEP = 2  # folders within folders in which pairs are guessed
DEEPEST = 9  # in which files are looked for to say what there is


class Patterns(NamedTuple):
    """Two patterns and what they pair."""

    image: str
    label: str
    shared: tuple[Ids, ...]


def paired(folder: Path, pairs: Sequence[str]) -> Found:
    """Pair the files of a folder by the user's patterns (image, label)."""
    for pattern in pairs:
        if len(pairs) != 2 or "{id}" not in pattern:
            raise BadInput(
                f"`pairs={' '.join(pairs)}`: wants two patterns with {{id}}, as 'image_{{id}}' "
                "'label_{id}'"
            )
    files = files_below(folder, max(pattern.count("/") for pattern in pairs))
    labels = matched(files, pairs[1], folder)
    images = matched({s: f for s, f in files.items() if f not in labels.values()}, pairs[0], folder)
    option = f"`pairs='{pairs[0]}' '{pairs[1]}'`"
    if not images.keys() & labels.keys():
        both = f"{amount(len(images), 'image')} and {amount(len(labels), 'label')}"
        fits = f"fits {both}, none of the same {{id}}"
        raise BadInput(f"{folder}: {option} {fits}; {seen_images(folder)}")
    known = {
        ids: Pair("_".join(ids), image, labels.get(ids), patient=ids[0])
        for ids, image in sorted(images.items())
    }
    alone = [
        Alone(pair.case, f"{pair.image}: no label of {option}", pair)
        for pair in known.values()
        if pair.label is None
    ]
    alone += [
        Alone("_".join(ids), f"{labels[ids]}: no image of {option}")
        for ids in labels.keys() - images
    ]
    found = [pair for pair in known.values() if pair.label]
    rest = sorted(set(files.values()) - {*images.values(), *labels.values()})
    fit = f"{amount(len(rest), f'{kinds()} file')} fit{'s' * (len(rest) == 1)} neither of"
    notes = (f"{folder}: {fit} {option} ({three(rest, folder)})",)
    return Found(slug(folder.resolve().name), found, None, alone, notes=notes if rest else ())


def guessed(folder: Path) -> Found | None:
    """Pair files by the words in their names; None where they allow no pairing, or several."""
    found = readings(folder)
    if len(found) != 1 or _several_of_one(found[0].shared):
        return None
    image, label, _ = found[0]
    pairs = paired(folder, (image, label))
    how = f"{folder}: read as `pairs='{image}' '{label}'`, by the words in its names"
    return pairs._replace(notes=(how, *pairs.notes))


def readings(folder: Path) -> list[Patterns]:
    """List the ways in which the words in their names pair a folder's files.

    Where these leave nothing in common, an image may hold its label's identifier: a_t1, a_t2 and
    a_seg.
    """
    images: dict[str, set[Ids]] = {}  # pattern -> identifiers
    labels: dict[str, set[Ids]] = {}
    others = []
    for stem in files_below(folder, DEEP):
        parts = [template(part) for part in stem.split("/")]
        ids = tuple(dict.fromkeys(part.id for part in parts if part.id))
        is_label = any(part.label for part in parts)
        others += [] if is_label else [stem]
        if ids:
            side = labels if is_label else images
            side.setdefault("/".join(part.text for part in parts), set()).add(ids)
    if not any(mine & theirs for mine in images.values() for theirs in labels.values()):
        images = _holding(others, {ids for found in labels.values() for ids in found})
    return [
        _literal(Patterns(image, label, tuple(sorted(mine & theirs))))
        for label, theirs in sorted(labels.items())
        for image, mine in sorted(images.items())
        if mine & theirs
    ]


def _holding(stems, known):
    """Find the patterns of names that hold a label's identifiers, each as a word of its own."""
    found = {}
    for ids in known:
        words = sorted(ids, key=len, reverse=True)
        edges = [re.compile(rf"(?<![^\W_]){re.escape(word)}(?![^\W_])") for word in words]
        for stem in (stem for stem in stems if all(word in stem for word in words)):
            pattern = stem
            for edge in edges:
                pattern = edge.sub("{id}", pattern)
            if pattern.count("{id}") >= len(ids):
                found.setdefault(pattern, set()).add(ids)
    return found


def seen_images(folder: Path) -> str:
    """Say what images there are, by three names, and the `pairs` that would read them."""
    files = files_below(folder, DEEP) or files_below(folder, DEEPEST)
    there = three(list(files.values()), folder) or f"no {kinds()} file"
    there = f"there {'is' if len(files) < 2 else 'are'} {there}"
    found = readings(folder)
    ways = [f"`pairs='{way.image}' '{way.label}'`" for way in map(_by_star, found[:3])]
    ways = ways or ["`pairs='image_{id}' 'label_{id}'` in their own words"]
    return f"{there}; say which belong together, by {' or '.join(ways)}"


def files_below(folder: Path, depth: int) -> dict[str, Path]:
    """List the images of a folder, and of so many folders within, by path without the ending.

    Raises BadInput where two differ in their endings alone.
    """
    found = {}
    for place, folders, names in os.walk(folder):
        here = Path(place).relative_to(folder)
        images = list(images_among(place, [*folders, *names]))
        inside = {name for name in folders if name[0] != "."} - {image.name for image in images}
        folders[:] = sorted(inside) if len(here.parts) < depth else []
        found |= {(here / stem).as_posix(): file for stem, file in by_stem(images).items()}
    return found


def matched(files: dict[str, Path], pattern: str, folder: Path) -> dict[Ids, Path]:
    """Give identifiers -> file for the files that a pattern fits."""
    pieces = re.split(r"(\{id\}|\*)", without_ending(pattern.removeprefix("./")))
    wild = {"{id}": "([^/]+)", "*": "[^/]*"}
    compiled = re.compile("".join(wild.get(piece) or re.escape(piece) for piece in pieces))
    found = {}
    for stem, file in files.items():
        if match := compiled.fullmatch(stem):
            ids = tuple(dict.fromkeys(match.groups()))
            if ids in found:
                both = f"{found[ids]} and {file}"
                raise BadInput(f"{folder}: {both} are both {'_'.join(ids)} of `pairs` '{pattern}'")
            found[ids] = file
    return found


def _literal(reading):
    """Write out a folder that is the same in every pair: train/image_{id}, not {id}/image_{id}."""
    image, label, shared = reading
    while (
        len(shared[0]) > 1
        and len({ids[0] for ids in shared}) == 1
        and len({*map(len, shared)}) == 1
    ):
        same = shared[0][0]
        image, label = image.replace("{id}", same, 1), label.replace("{id}", same, 1)
        shared = tuple(ids[1:] for ids in shared)
    return Patterns(image, label, shared)


def _several_of_one(shared):
    """Say whether a folder holds several pairs: it may be a patient's, or all that train."""
    return len({ids[0] for ids in shared}) < len(shared)


def _by_star(reading):
    """Leave the outer folders out of the identifier where the inner one tells all pairs apart."""
    last = {ids[-1] for ids in reading.shared}
    if not _several_of_one(reading.shared) or len(last) < len(reading.shared):
        return reading
    image, label = (re.sub(r"\{id\}(?=.*\{id\})", "*", side) for side in reading[:2])
    return reading._replace(image=image, label=label)
