"""Files of formats that are not read: which there are, and with what tool each becomes NIfTI.

They are named: a folder of .nrrd files is no empty folder, and one such file among many of NIfTI is
a patient that a user would miss. An ending that `READERS` has counts there, and no longer here.
"""

import os
from pathlib import Path
from typing import NamedTuple

from jaxmeta.data.formats.formats import READERS, ending_of, endings, is_image, kinds, listed
from jaxmeta.data.names import amount, three

SIMPLE = "SimpleITK.WriteImage(SimpleITK.ReadImage('x{end}'), 'x.nii.gz') in Python, or 3D Slicer"
NIBABEL = "nib-convert x{end} x.nii.gz (it comes with nibabel)"
DICOM = "dcm2niix -z y -o OUTPUT FOLDER"
OTHERS = {  # how a name ends -> with what it is converted
    ".nrrd": SIMPLE,
    ".nhdr": SIMPLE,
    ".mha": SIMPLE,
    ".mhd": SIMPLE,
    ".mgz": NIBABEL,
    ".mgh": NIBABEL,
    ".hdr": NIBABEL,
    ".img": NIBABEL,
    ".img.gz": NIBABEL,
    ".dcm": DICOM,
    ".dicom": DICOM,
    ".ima": DICOM,
}
PIXELS = (".img", ".img.gz")  # beside a .hdr, which counts for both


class Others(NamedTuple):
    """Files of one other format in a folder."""

    ending: str  # ".nrrd"; ".dcm" of DICOM files of any name
    files: tuple[Path, ...]


def other_formats(folder: Path) -> list[Others]:
    """Find the volumes of other formats below a folder, by name and, of DICOM, by bytes.

    DICOM files often have no ending, or one of digits: of a folder's such files a few are looked
    into, and all where one of these is.
    """
    found: dict[str, list[Path]] = {}
    for place, folders, inside in os.walk(folder):
        if is_image(place):
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        inside = sorted(name for name in inside if not name.startswith("."))
        plain, there = [], set(inside)
        for name in inside:
            ending = unread_ending(name)
            if ending in PIXELS and f"{name[: -len(ending)]}.hdr" in there:
                continue
            if ending:
                found.setdefault(ending, []).append(Path(place, name))
            elif not Path(name).suffix or Path(name).suffix[1:].isdecimal():
                plain.append(Path(place, name))
        if any(map(is_dicom, (plain[:1] + plain[len(plain) // 2 :][:1] + plain[-1:]))):
            found.setdefault(".dcm", []).extend(file for file in plain if is_dicom(file))
    return [Others(ending, tuple(files)) for ending, files in sorted(found.items())]


def unread_ending(name: str) -> str | None:
    """Give the ending of a format that is known and not read, in lower case."""
    known = (end for end in reversed(OTHERS) if name.lower().endswith(end) and end not in READERS)
    return None if ending_of(name) else next(known, None)


def is_dicom(path: Path) -> bool:
    """Say whether a file has DICOM's mark behind its preamble (DICOM PS3.10, 7.1)."""
    try:
        with open(path, "rb") as file:
            return file.read(132)[128:] == b"DICM"
    except OSError:
        return False


def told_others(others: list[Others], folder: Path) -> list[str]:
    """Word what is there of each format: how many, three names, and what to do."""
    lines = []
    for ending, files in others:
        kind = "DICOM" if OTHERS[ending] is DICOM else ending
        count = amount(len(files), f"{kind} file")
        lines.append(f"{folder}: {count} not read ({three(files, folder)}); {converted_by(ending)}")
    return lines


def converted_by(ending: str | None) -> str:
    """Say what to do with a file of another format, by its ending if that is known."""
    tool = f": {OTHERS[ending].format(end=ending)}" if ending else ""
    return f"convert to NIfTI first{tool}"


def conversion(path: Path) -> str:
    """Say what to do with one file that is not called as those are that are read."""
    if is_image(path):
        return f"it is {kinds()} by its name"
    ending = unread_ending(path.name) or (".dcm" if is_dicom(path) else None)
    told = f"its name must end in {listed(sorted(endings()), 'or')}"
    return converted_by(ending) if ending else told
