"""How a phantom body becomes a scan: CT-like or MR-like values, in a file as scanners write them.

A body comes as shades: 0 to about 1 in tissue, negative in air, in canonical (RAS) orientation.
"""

import nibabel as nib
import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

NOISE = 0.04  # standard deviation, in shades
BIAS = 0.25  # standard deviation of the logarithm of the MR bias field

Shades = Float[np.ndarray, "X Y Z"]


def ct(shades: Shades, rng: np.random.Generator) -> Shades:
    """Give Hounsfield units: air, soft tissue with a contrast that varies, Gaussian noise."""
    body = -130 + 340 * shades * rng.uniform(0.92, 1.08)
    volume = np.where(shades < 0, -130 + 870 * np.clip(shades, -1, 0), body)
    volume = ndimage.gaussian_filter(volume, (0.6, 0.6, 0.3))
    return volume + rng.normal(scale=340 * NOISE, size=shades.shape)


def mr(shades: Shades, rng: np.random.Generator) -> Shades:
    """Give arbitrary units: a gain and gamma of each scan, a smooth bias field, Rician noise."""
    volume = 0.06 + 0.94 * np.clip(shades, 0, None) ** rng.uniform(0.85, 1.2)
    volume = np.where(shades < 0, 0, volume)
    volume = ndimage.gaussian_filter(volume, (0.6, 0.6, 0.3))
    steps = [np.linspace(-1, 1, n) for n in shades.shape]
    volume = volume * np.exp(
        waves(*np.meshgrid(*steps, indexing="ij", sparse=True), 3.0, BIAS, rng)
    )
    real, imaginary = rng.normal(scale=NOISE, size=(2, *shades.shape))
    return rng.uniform(300, 1200) * np.hypot(volume + real, imaginary)


def as_scanned(
    scan: Shades, label: UInt8[np.ndarray, "X Y Z"], modality: str, rng: np.random.Generator
) -> tuple[nib.Nifti1Image, nib.Nifti1Image]:
    """Wrap canonical arrays as a scanner stores them: turned axes, oblique affine, codes, integers.

    Returns the image and its label map, on one grid.
    """
    size = scan.shape[0]
    zooms = np.array([rng.uniform(320, 400) / size] * 2 + [rng.uniform(8, 12)])
    tilt = _rotation(rng.uniform(-0.08, 0.08, size=3))
    affine = np.eye(4)
    affine[:3, :3] = tilt * zooms
    affine[:3, 3] = rng.uniform(-60, 60, size=3) - affine[:3, :3] @ (np.array(scan.shape) / 2)
    codes = [("LR"[rng.integers(2)], "PA"[rng.integers(2)], "IS"[rng.integers(2)])]
    turn = nib.orientations.axcodes2ornt([codes[0][i] for i in rng.permutation(3)])
    there = nib.orientations.ornt_transform(nib.orientations.axcodes2ornt("RAS"), turn)
    stored = nib.orientations.apply_orientation(scan, there)
    mask = nib.orientations.apply_orientation(label, there)
    affine = affine @ nib.orientations.inv_ornt_aff(there, scan.shape)
    slope, intercept = (
        [(1.0, 0.0), (1.0, -1024.0)][rng.integers(2)] if modality == "ct" else (0.5, 0.0)
    )
    floating = modality == "mr" and rng.uniform() < 0.3
    qform, sform = [(1, 1), (0, 2), (1, 0), (2, 4)][rng.integers(4)]
    images = []
    for array, kind in ((stored, np.float32 if floating else np.int16), (mask, np.uint8)):
        if kind == np.int16:
            array = np.round((array - intercept) / slope)
        image = nib.Nifti1Image(np.ascontiguousarray(array.astype(kind)), affine)
        image.header.set_xyzt_units("mm", "sec")
        image.set_qform(affine, code=qform)
        image.set_sform(affine if sform else None, code=sform)
        if kind == np.int16:
            image.header.set_slope_inter(slope, intercept)
        images.append(image)
    return tuple(images)


def _rotation(angles):
    matrix = np.eye(3)
    for axis, angle in enumerate(angles):
        i, j = [(1, 2), (0, 2), (0, 1)][axis]
        turn = np.eye(3)
        turn[[i, j], [i, j]], turn[i, j], turn[j, i] = np.cos(angle), -np.sin(angle), np.sin(angle)
        matrix = turn @ matrix
    return matrix


def waves(x, y, z, length, amplitude, rng):
    """A smooth random field: five plane waves of about the given wavelength."""
    total = 0.0
    for _ in range(5):
        way = rng.normal(size=3)
        way = way / np.linalg.norm(way) * 2 * np.pi / (length * rng.uniform(0.8, 1.3))
        total = total + np.sin(
            way[0] * x + way[1] * y + 0.5 * way[2] * z + rng.uniform(0, 2 * np.pi)
        )
    return amplitude * total / np.sqrt(2.5)
