"""Where voxels lie in the scanner's space, in mm, and whether two files agree on it.

An affine's entries are no measure: a thousandth in a direction is a third of a millimeter at the
far end of 300 voxels, and half of an offset is half a meter where a header counts in meters. So
everything here is in mm (`in_mm`), and two affines differ by the farthest that any voxel moves from
one to the other, which, both being linear, is at a corner (`displacement`).
"""

from itertools import product
from typing import NamedTuple

import nibabel as nib
import numpy as np
from jaxtyping import Float

from jaxmeta.data.names import amount

MM = {1: 1000.0, 2: 1.0, 3: 0.001}  # of NIfTI's codes for meters, mm and microns; 0 says nothing
SILENT = 0.01  # of the smallest voxel's side: less is rounding, of float32 and of quaternions
REFUSED = 0.5  # from here on a voxel lies in another one's place
TILT = 1.0  # degrees from a right angle that a header's rounding never makes
BODIES = (2.0, 3000.0)  # mm that a scan may span without a question


class Note(NamedTuple):
    """Something odd about a file that is read all the same."""

    kind: str  # notes of a kind are told once, with three of the files
    text: str


def in_mm(affine: Float[np.ndarray, "4 4"], header: nib.Nifti1Header) -> Float[np.ndarray, "4 4"]:
    """Bring an affine to mm from the unit that its header names; without one it is in mm
    already."""
    scale = MM.get(int(header["xyzt_units"]) % 8, 1.0)  # the upper bits are of time
    return affine if scale == 1 else np.diag([scale, scale, scale, 1.0]) @ affine


def invertible(affine: Float[np.ndarray, "4 4"]) -> bool:
    """Tell whether an affine says where every voxel is, and no two are in one place."""
    return bool(np.isfinite(affine).all() and abs(np.linalg.det(affine[:3, :3])) >= 1e-12)


def displacement(
    one: Float[np.ndarray, "4 4"], other: Float[np.ndarray, "4 4"], shape: tuple[int, ...]
) -> float:
    """Give the farthest that a voxel of a volume moves from one affine to the other, in mm."""
    corners = np.array([*product(*((0, length - 1) for length in shape[:3]))], np.float64)
    moved = (one - other)[:3, :3] @ corners.T + (one - other)[:3, 3:]
    return float(np.linalg.norm(moved, axis=0).max())


def agreement(mm: float, affine: Float[np.ndarray, "4 4"]) -> str:
    """Judge a displacement by the smallest side of a voxel: "same", "told" or "refused"."""
    share = mm / nib.affines.voxel_sizes(affine).min()
    return "same" if share < SILENT else "told" if share < REFUSED else "refused"


def header_notes(
    header: nib.Nifti1Header, affine: Float[np.ndarray, "4 4"], shape: tuple[int, ...], path
) -> tuple[Note, ...]:
    """List what a header leaves open about where its voxels lie, `affine` (mm) being what is
    read."""
    notes = []
    codes = int(header["qform_code"]), int(header["sform_code"])
    if codes == (0, 0):
        text = (
            "says nothing of orientation (qform and sform codes are 0): left and right are a guess"
        )
        notes.append(Note("orientation", f"{path}: its header {text}"))
    elif all(codes):
        try:
            mm = displacement(in_mm(header.get_qform(), header), affine, shape)
        except (nib.spatialimages.HeaderDataError, ValueError):  # no rotation; the sform is read
            mm = np.inf
        if agreement(mm, affine) == "refused":
            text = f"its qform and sform place voxels up to {mm:.3g} mm apart; the sform is read"
            notes.append(Note("qform", f"{path}: {text}"))
    axes = affine[:3, :3] / nib.affines.voxel_sizes(affine)
    cosine = np.abs(axes.T @ axes - np.eye(3)).max()
    if cosine > np.sin(np.radians(TILT)):
        tilt = np.degrees(np.arcsin(min(cosine, 1.0)))
        text = f"its axes are {tilt:.3g} degrees off a right angle (a tilted gantry?)"
        notes.append(Note("tilt", f"{path}: {text}; distances in mm are so much off"))
    span = max(np.multiply(nib.affines.voxel_sizes(affine), shape[:3]))
    if not BODIES[0] <= span <= BODIES[1]:
        text = f"spans {span:.3g} mm; if that is not so, mend the units (xyzt_units) in its header"
        notes.append(Note("units", f"{path}: {text}"))
    return tuple(notes)


def told_notes(notes: list[Note]) -> list[str]:
    """Word notes for people: of each kind three files, and how many more."""
    kinds: dict[str, list[str]] = {}
    for note in notes:
        if note.text not in kinds.setdefault(note.kind, []):
            kinds[note.kind].append(note.text)
    lines = []
    for texts in kinds.values():
        more = f" (and {amount(len(texts) - 3, 'file')} more like these)" if len(texts) > 3 else ""
        lines += [*texts[:2], *(text + more for text in texts[2:3])]
    return lines
