"""What a layout says of a folder, and the small things that every layout needs to say it."""

import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from jaxmeta.data.formats.formats import by_stem, images_among
from jaxmeta.data.words import says_label
from jaxmeta.errors import BadInput

CHANNEL = re.compile(r"_\d{4}$")


class Pair(NamedTuple):
    """An image with its label, as a layout finds them; an image that nobody labelled has none."""

    case: str
    image: Path
    label: Path | None = None
    modality: str | None = None  # as the data set's own file declares it
    patient: str | None = None  # where the layout knows it
    what: str = ""  # which kind of label this is, where one folder holds several kinds
    channels: tuple[str, ...] = ()  # as the data set's own file declares them, in order
    channel: int | None = None  # which of them this image is, where each is a file of its own
    choose: bool = False  # the label fits several channels' files, and only the user knows which
    names: dict[str, tuple[int, ...]] | None = None  # structure -> values, of this label alone
    atlas: bool = False  # the names are those of an atlas: more than any one label holds
    files: dict[str, Path] | None = None  # structure -> its own mask, where each has a file


class Alone(NamedTuple):
    """A case that is no pair."""

    case: str
    why: str  # it cannot be used
    unlabelled: Pair | None = None  # but by whoever learns from images that nobody labelled


class Found(NamedTuple):
    """What a layout says of a folder."""

    dataset: str
    pairs: list[Pair]
    names: dict[str, tuple[int, ...]] | None  # structure -> the label values it is made of
    alone: list[Alone]
    unlisted: tuple[str, ...] = ()  # files that the data set's own list leaves out
    notes: tuple[str, ...] = ()  # what else is worth a line
    by_patterns: bool = False  # whether the user's `pairs` found them
    unlabelled: tuple[Pair, ...] = ()  # images that the data set itself gives without labels


def bare(stem: str, image: Path, labelled: Iterable[str] = ()) -> Pair | None:
    """Take an image that nobody labelled; None where its name says that it is a label, another
    channel, or one more image of a case that somebody labelled."""
    case = stem.removesuffix("_0000")
    other = CHANNEL.search(case) or any(re.match(re.escape(of) + "[-_]", case) for of in labelled)
    return None if other or says_label(stem) else Pair(case, image)


def unused(name: str, names: Mapping, folder: Path) -> str:
    """Return the name, unless another label of a dataset.json has it already."""
    if name in names:
        raise BadInput(f"{folder / 'dataset.json'}: two labels are called {name}; rename one")
    return name


def volumes_in(folder: Path) -> dict[str, Path]:
    """List the images of a folder by stem; macOS leaves `._*` twins that are none.

    Raises BadInput where two differ in their endings alone.
    """
    inside = os.listdir(folder) if folder.is_dir() else []
    return by_stem(images_among(folder, inside))


def described(folder: Path) -> dict | None:
    """Read the dataset.json in which a data set describes itself; None where there is none."""
    file = folder / "dataset.json"
    if not file.exists():
        return None
    try:
        declared = json.loads(file.read_text("utf-8-sig"))
    except (ValueError, UnicodeDecodeError) as error:
        raise BadInput(f"{file}: not JSON ({error})") from None
    return declared if isinstance(declared, dict) else None
