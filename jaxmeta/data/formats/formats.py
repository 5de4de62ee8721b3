"""The formats that are read, by how the names of their files end.

A new format is one file beside this one that makes a `Reader`, and a line of `READERS`. What counts
as an image where folders are searched, the stems of names and the endings that messages tell follow
from these lines. Endings count in any case: .NII.GZ and .Nii.gz are written too. Where a volume is
a folder of files, as a series of DICOM, the ending is theirs, and the reader says which folders it
reads.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path

from jaxmeta.data.formats.nifti import NIFTI
from jaxmeta.data.formats.reader import Reader
from jaxmeta.errors import BadInput

READERS: dict[str, Reader] = {".nii.gz": NIFTI, ".nii": NIFTI}


def ending_of(name: str) -> str:
    """Give the known ending of a file's name, spelled as it is there; "" of one that has none."""
    known = [end for end in endings() if name.lower().endswith(end)]
    return name[-max(map(len, known)) :] if known else ""


def endings() -> list[str]:
    """List how the names of files end that are volumes each."""
    return [end for end, reader in READERS.items() if reader.holds is None]


def is_image(path: str | Path) -> bool:
    """Tell whether a file is called as those are that can be read, or a folder is one volume."""
    return _known(Path(path)) is not None


def images_among(folder: str | Path, names: Iterable[str]) -> Iterator[Path]:
    """Give which of the things in a folder can be read, without those that are hidden."""
    paths = (Path(folder, name) for name in sorted(names) if name[0] != ".")
    return (path for path in paths if is_image(path))


def reader_of(path: str | Path) -> Reader:
    """Give what reads a volume; what is called in no known way is read as NIfTI.

    For a data set's own list may call its files as it likes, and what is none is told of.
    """
    return _known(Path(path)) or NIFTI


def _known(path):
    """Give what reads a file by its ending, or a folder by what it holds."""
    if path.is_dir():
        ways = (reader for reader in READERS.values() if reader.holds)
        return next((reader for reader in ways if reader.holds(path)), None)
    return READERS.get(ending_of(path.name).lower())


def files_of(path: str | Path) -> list[Path]:
    """List the files of a volume: itself, or of a folder those inside that are not hidden."""
    path = Path(path)
    if not path.is_dir():
        return [path]
    return sorted(file for file in path.iterdir() if file.is_file() and file.name[0] != ".")


def without_ending(name: str) -> str:
    """Take the known ending, if there is one, off a name or a pattern of names."""
    return name[: len(name) - len(ending_of(name))]


def case_stem(path: str | Path) -> str:
    """Give a volume's name without its known ending; raises BadInput for a name that has none."""
    path = Path(path)
    if not is_image(path):
        raise BadInput(
            f"{path}: not a {kinds()} file by its name; {listed(readable(), 'and')} are read"
        )
    return path.name if path.is_dir() else without_ending(path.name)


def by_stem(files: Iterable[Path]) -> dict[str, Path]:
    """Give stem -> file; raises BadInput where two files differ in their endings alone."""
    found: dict[str, Path] = {}
    for file in files:
        if other := found.get(case_stem(file)):
            one, two = sorted(ending_of(each.name) or "folder" for each in (other, file))
            raise BadInput(f"{other}: there is both a {one} and a {two} of it; remove one")
        found[case_stem(file)] = file
    return found


def readable() -> list[str]:
    """Name the endings that are read, and those of files that are a volume together."""
    return [f"folders of {end}" if reader.holds else end for end, reader in READERS.items()]


def kinds() -> str:
    """Name the formats that are read, as NIfTI, or NIfTI or DICOM."""
    return listed(dict.fromkeys(reader.name for reader in READERS.values()), "or")


def listed(words: Iterable[str], last: str) -> str:
    """Write words in a row, the last two joined by `last`: a, b and c."""
    *first, end = words
    return f"{', '.join(first)} {last} {end}" if first else end
