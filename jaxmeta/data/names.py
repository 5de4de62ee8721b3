"""How things are called: files, numbers of things, and the names that users and data sets give."""

import re
from pathlib import Path

from jaxmeta.errors import BadInput

SUFFIXES = (".nii.gz", ".nii")  # in any case: .NII.GZ and .Nii.gz are written too


def is_nifti(path: str | Path) -> bool:
    """Say whether a file is called as NIfTI files are."""
    return Path(path).name.lower().endswith(SUFFIXES)


def gzipped(path: str | Path) -> bool:
    """Say whether a file is called as compressed ones are."""
    return Path(path).name.lower().endswith(".gz")


def amount(number: int, what: str) -> str:
    """Word a number of things: 1 volume, 2 volumes."""
    return f"{number} {what}{'s' * (number != 1)}"


def slug(name: str) -> str:
    """Spell a name the one way it is spelled inside: lower case, underscores for blanks."""
    return re.sub(r"[\W_]+", "_", name.lower()).strip("_")


def case_stem(path: str | Path) -> str:
    """Give the file's name without .nii or .nii.gz."""
    name = Path(path).name
    for suffix in SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    raise BadInput(f"{path}: not a NIfTI file by its name; .nii.gz and .nii are read")
