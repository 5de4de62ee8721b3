"""Small NIfTI scans for the tests of data: any orientation, any type, any layout."""

import json
from pathlib import Path

import nibabel as nib
import numpy as np
from nibabel.orientations import inv_ornt_aff, ornt_transform

from jaxmeta.data.formats.image import Image

RAS = np.array([[0, 1], [1, 1], [2, 1]])
SHAPE = (18, 24, 9)


def oriented(codes: str, shape=SHAPE, zooms=(1.5, 1.25, 4.0)) -> np.ndarray:
    """Make the affine of a file of `shape` whose axes run to `codes`, e.g. "PSR"."""
    to_ras = ornt_transform(nib.orientations.axcodes2ornt(codes), RAS)
    ras_shape = [0, 0, 0]
    for axis, (target, _) in enumerate(to_ras.astype(int)):
        ras_shape[target] = shape[axis]
    affine = np.diag([*zooms, 1.0])
    affine[:3, 3] = (-20.0, 7.0, 3.5)
    return affine @ inv_ornt_aff(
        ornt_transform(RAS, nib.orientations.axcodes2ornt(codes)), ras_shape
    )


def real(image: Image) -> np.ndarray:
    """Give an image as it was read in its real units."""
    return image.values * np.float32(image.slope) + np.float32(image.intercept)


def anatomy(shape=SHAPE, values=(1, 2), seed=0) -> tuple[np.ndarray, np.ndarray]:
    """Draw an int16 scan of boxes on noise, and their uint8 label; nothing in it is symmetric."""
    rng = np.random.default_rng(seed)
    image = rng.normal(100, 10, shape)
    label = np.zeros(shape, np.uint8)
    for number, value in enumerate(values):
        corner = [int(rng.integers(0, n // 3)) + number * n // 4 for n in shape]
        box = tuple(
            slice(c, c + max(2, n // 3 - number)) for c, n in zip(corner, shape, strict=True)
        )
        label[box] = value
        image[box] += 50 * (number + 1)
    return image.astype(np.int16), label


def save(path: Path, array: np.ndarray, affine=None, *, codes=(1, 2), slope=None) -> Path:
    """Write a NIfTI file with its own codes and units."""
    path.parent.mkdir(parents=True, exist_ok=True)
    affine = oriented("RAS", array.shape) if affine is None else affine
    volume = nib.Nifti1Image(array, affine, dtype=array.dtype)
    volume.header.set_xyzt_units("mm", "sec")
    volume.set_qform(affine, codes[0])
    volume.set_sform(affine, codes[1])
    if slope is not None:
        volume.header.set_slope_inter(*slope)
    nib.save(volume, path)
    return path


def decathlon(
    folder: Path, cases, *, names=("liver", "left kidney"), modality="MRI", **more
) -> Path:
    """Write a Medical Decathlon data set: cases are {name: (image, label)} or a number of cases."""
    if isinstance(cases, int):
        cases = {f"case{n}": anatomy(seed=n, values=range(1, len(names) + 1)) for n in range(cases)}
    training = []
    for case, (image, label) in cases.items():
        save(folder / "imagesTr" / f"{case}.nii.gz", image)
        save(folder / "labelsTr" / f"{case}.nii.gz", label)
        training.append({part: f"./{part}sTr/{case}.nii.gz" for part in ("image", "label")})
    labels = {"0": "background"} | {str(n): name for n, name in enumerate(names, 1)}
    about = {"name": folder.name, "labels": labels, "training": training}
    if modality:
        about["modality"] = modality if isinstance(modality, dict) else {"0": modality}
    (folder / "dataset.json").write_text(json.dumps(about | more))
    return folder


def touch(folder, *names):
    """Make files that only their names matter of."""
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Read every file of a folder."""
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}
