"""The support that a user gives `predict`: labelled volumes, and which of their slices are adapted
to."""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxmeta.data.formats.formats import endings, is_image
from jaxmeta.data.formats.image import read_pair
from jaxmeta.data.grid import resize_mask, to_slices
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.trial import Support, places
from jaxmeta.inference.scan import Reading, as_scan, seen, tell_notes, told
from jaxmeta.tasks.task import Examples

LabelledPair = tuple[Path, Path, int | None]  # image, label, value


def parsed(text: str) -> LabelledPair:
    """Read IMAGE:LABEL[:VALUE]; raises BadInput for what is written in another way."""
    file = f".+?(?:{'|'.join(map(re.escape, endings()))})"
    match = re.fullmatch(rf"({file}):({file})(?::(\d+))?", text, re.IGNORECASE)
    image, label, value = match.groups() if match else _by_what_is_there(text)
    return Path(image), Path(label), None if value is None else int(value)


def _by_what_is_there(text):
    """Part what is told at the colons that leave two volumes: a folder may be called anything."""
    words = text.split(":")
    ways = [(words, None)] + [(words[:-1], words[-1])] * words[-1].isdecimal()
    for names, value in ways:
        for end in range(1, len(names)):
            image, label = ":".join(names[:end]), ":".join(names[end:])
            if is_image(image) and is_image(label):
                return image, label, value
    raise BadInput(f"`support={text}`: write IMAGE.nii.gz:LABEL.nii.gz or ...:VALUE")


def read_support(
    pairs: Sequence[LabelledPair],
    reading: Reading,
    structure: int | None = None,
    *,
    tell: bool = True,
) -> Support:
    """Read all labelled slices that hold the structure: of this label, or of each pair's own.

    With `tell` what is odd about the files is printed. Raises BadInput, with the file's name, for
    what cannot be used, and where no slice shows the structure.
    """
    parts, names = [], []
    for image, label, value in pairs:
        value = value if structure is None else structure
        pair, labels = read_pair(image, label, **told(image, reading))
        if tell:
            tell_notes(pair)
        here = labels > 0 if value is None else labels == value
        if not here.any():
            found = ", ".join(map(str, np.unique(labels)[:20]))
            what = "above 0" if value is None else f"equal to {value}"
            raise BadInput(f"{label}: no voxel is {what}, so it shows no structure; it has {found}")
        scan = as_scan(image, pair, reading)
        native = to_slices(here.astype(np.uint8), scan.geometry)
        held = np.flatnonzero(native.any((1, 2)))
        mask = resize_mask(native[held], reading.size, scan.geometry, spacing=reading.mm)
        parts.append((seen(scan, reading, held), mask, places(len(native))[held]))
        names += [f"{image}:{number}" for number in held]
    image, mask, place = (np.concatenate(each) for each in zip(*parts, strict=True))
    shows = mask.any((1, 2))
    if not shows.any():
        raise BadInput(
            f"{pairs[0][1]}: the structure is too small to be seen at the run's {reading.size} "
            "pixels; train with a larger `tasks.size`, or finer `tasks.spacing`"
        )
    image, mask, place = image[shows], mask[shows], place[shows]
    names = [name for name, kept in zip(names, shows, strict=True) if kept]
    examples = Examples(image, mask, np.ones(len(image), bool))
    return Support(examples, place, tuple(str(image) for image, _, _ in pairs), tuple(names))


def drawn_supports(
    support: Support,
    shots: int | None,
    *,
    support_sets: int = 1,
    seed: int = 0,
    few: int | None = None,
) -> list[Support]:
    """Take all slices, at most `few`, or draws of some: others at random, the first evenly spaced.

    That is the middles of as many equal parts: one slice is from the middle of the structure, and
    none from its ends, which look least like the rest of it.
    """
    count = len(support.place)
    if shots is None and few is None:
        return [support]
    shots = min(few, count) if shots is None else shots
    if not 0 < shots <= count:
        raise BadInput(f"`shots={shots}`: the support has {count} slices with the structure")
    rng = np.random.default_rng(seed)
    kept = [(2 * np.arange(shots) + 1) * count // (2 * shots)]
    kept += [np.sort(rng.permutation(count)[:shots]) for _ in range(support_sets - 1)]
    return [
        Support(
            Examples(*(leaf[each] for leaf in support.examples[:3])),
            support.place[each],
            support.patients,
            tuple(support.slices[n] for n in each),
        )
        for each in kept
    ]


def padded(supports: Sequence[Support]) -> list[Support]:
    """Fill supports of fewer slices up with some that are not valid."""
    most = max(len(support.place) for support in supports)

    def fill(array: np.ndarray) -> np.ndarray:
        return np.pad(array, [(0, most - len(array))] + [(0, 0)] * (array.ndim - 1))

    return [
        support._replace(
            examples=Examples(*map(fill, support.examples[:3])), place=fill(support.place)
        )
        for support in supports
    ]
