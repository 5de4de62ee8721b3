"""The formats that are read, by how the names of their files end.

A new format is one file beside this one that makes a `Reader`, and a line of `READERS`. What counts
as an image where folders are searched, the stems of names and the endings that messages tell follow
from these lines. Endings count in any case: .NII.GZ and .Nii.gz are written too.
"""

from collections.abc import Iterable
from pathlib import Path

from jaxmeta.data.formats.nifti import NIFTI
from jaxmeta.data.formats.reader import Reader
from jaxmeta.errors import BadInput

READERS: dict[str, Reader] = {".nii.gz": NIFTI, ".nii": NIFTI}


def ending_of(name: str) -> str:
    """Give the known ending of a name, spelled as it is there; "" of a name that has none."""
    known = [end for end in READERS if name.lower().endswith(end)]
    return name[-max(map(len, known)) :] if known else ""


def is_image(path: str | Path) -> bool:
    """Tell whether a file is called as those are that can be read."""
    return bool(ending_of(Path(path).name))


def reader_of(path: str | Path) -> Reader:
    """Give what reads a file; what is called in no known way is read as NIfTI.

    For a data set's own list may call its files as it likes, and what is none is told of.
    """
    return READERS.get(ending_of(Path(path).name).lower(), NIFTI)


def without_ending(name: str) -> str:
    """Take the known ending, if there is one, off a name or a pattern of names."""
    return name[: len(name) - len(ending_of(name))]


def case_stem(path: str | Path) -> str:
    """Give the file's name without its known ending; raises BadInput for a name that has none."""
    if not is_image(path):
        raise BadInput(
            f"{path}: not a {kinds()} file by its name; {listed(READERS, 'and')} are read"
        )
    return without_ending(Path(path).name)


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Give stem -> file; raises BadInput where two files differ in their endings alone."""
    found: dict[str, Path] = {}
    for file in files:
        if other := found.get(case_stem(file)):
            one, two = sorted(ending_of(each.name) for each in (other, file))
            raise BadInput(f"{other}: there is both a {one} and a {two} of it; remove one")
        found[case_stem(file)] = file
    return found


def kinds() -> str:
    """Name the formats that are read, as NIfTI, or NIfTI or DICOM."""
    return listed(dict.fromkeys(reader.name for reader in READERS.values()), "or")


def listed(words: Iterable[str], last: str) -> str:
    """Write words in a row, the last two joined by `last`: a, b and c."""
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else end
