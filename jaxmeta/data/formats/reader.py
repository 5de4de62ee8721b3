"""What a format has to give so that its files are read: two or three functions, told here."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxtyping import Float, Shaped
from numpy import ndarray

from jaxmeta.data.placement import Note


class Raw(NamedTuple):
    """What a file stores of one channel; real value = slope * values + intercept."""

    values: Shaped[ndarray, "x y z"]  # in the file's own type
    slope: float
    intercept: float
    affine: Float[ndarray, "4 4"]  # voxel to mm, whatever the file's unit; x to the right, RAS+
    header: bytes  # of NIfTI, three-dimensional: the file's own, or what `nifti.header_for` makes
    notes: tuple[Note, ...] = ()  # what is odd about where the voxels lie


class Head(NamedTuple):
    """What is known of a file before its voxels are read."""

    shape: tuple[int, ...]  # three axes of space, then those of channels
    affine: Float[ndarray, "4 4"]  # voxel to mm; not finite where the file's own cannot be used


class Reader(NamedTuple):
    """How the files of one format are read."""

    name: str  # as people write it: "NIfTI"
    read: Callable[[str | Path, Callable[[tuple[int, ...]], int]], Raw]
    # (path, choose): `choose` gives a channel's number for the shape of the whole, and may raise;
    # what cannot be read raises BadInput with the file's name
    head: Callable[[str | Path], Head | None]  # None where reading it all will say what is wrong
    holds: Callable[[Path], bool] | None = None
    # where a volume is a folder of files: whether a folder is one; None where each file is one
