"""Find the pairs of one folder: by its own declaration, the user's patterns, a layout, or its
words.

What a folder holds that is not read, or that cannot be paired, is said in one line that shows how.
"""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from jaxmeta.data.formats.unread import other_formats, told_others
from jaxmeta.data.layouts.found import Found, bare, volumes_in
from jaxmeta.data.layouts.layouts import DECLARED, LAYOUTS
from jaxmeta.data.layouts.pairing import (
    DEEPEST,
    files_below,
    guessed,
    paired,
    readings,
    seen_images,
)
from jaxmeta.data.names import slug
from jaxmeta.errors import BadInput


def find_pairs(
    folder: Path,
    *,
    pair_suffix: str | None = None,
    pairs: Sequence[str] | None = None,
    keep_unlabelled: bool = False,
) -> Found:
    """Ask every layout about a folder, then the words in its names; or use the user's patterns.

    With `keep_unlabelled` an image without a label is a pair without one, and a folder may hold
    such images alone.
    """
    if not folder.is_dir():
        raise BadInput(f"{folder}: no such folder")
    found = _first(DECLARED, folder, pair_suffix)
    if found is None and pairs:
        found = paired(folder, pairs)._replace(by_patterns=True)
    elif found is None:
        found = _first(LAYOUTS, folder, pair_suffix)
        if not pair_suffix and (found is None or not found.pairs):
            found = guessed(folder) or (None if readings(folder) else found)
    if keep_unlabelled:
        found = with_unlabelled(folder, found)
    others = told_others(other_formats(folder), folder)
    if found is None or not (found.pairs or found.alone):
        raise BadInput(_nothing(folder, others))
    times = Counter(pair.case for pair in found.pairs)
    for case in times:
        if times[case] > 1:
            raise BadInput(f"{folder}: {case} has several labels; choose with `pair_suffix`")
    alone = [one._replace(why="; ".join([one.why, *others])) for one in found.alone]
    return found._replace(alone=alone, notes=(*found.notes, *others))


def with_unlabelled(folder: Path, found: Found | None) -> Found | None:
    """Count the images without a label among the pairs; of a folder of images alone, all, unless
    any of its names says that it is something else."""
    if found is None or not (found.pairs or found.alone):
        every = [bare(stem, file) for stem, file in volumes_in(folder).items()]
        if not every or not all(every) or readings(folder):
            return found
        return Found(slug(folder.resolve().name), every, None, [])
    kept = [one.unlabelled for one in found.alone if one.unlabelled]
    left = [one for one in found.alone if not one.unlabelled]
    return found._replace(pairs=[*found.pairs, *kept, *found.unlabelled], alone=left)


def _first(layouts, folder, pair_suffix):
    """Ask layouts about a folder until one knows it."""
    answers = (layout(folder, pair_suffix) for layout in layouts)
    return next((answer for answer in answers if answer is not None), None)


def _nothing(folder, others):
    """Say what a folder holds in which no pair is found, and what to do."""
    if others and not files_below(folder, DEEPEST):
        return "; ".join(others)
    ways = (
        f"{folder}: no image with a label found; {seen_images(folder)} (known without are "
        "dataset.json with imagesTr/ and labelsTr/, BIDS with derivatives/, a folder a patient "
        "with a mask of each structure, images/ with labels/, and NAME.nii.gz with "
        "NAME_seg.nii.gz or `pair_suffix`)"
    )
    return "; ".join([ways, *others])
