"""How soon masks are there that nothing was trained for: the whole command, in a process of its
own."""

import resource
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import nibabel as nib
import numpy as np

from experiments.benchmarks.metrics import balls
from jaxmeta.errors import BadInput


def masks(shape: Sequence[int], spacing: Sequence[float], volumes: int) -> dict[str, float]:
    """Time `predict` without a run, from its start to the first mask, and from mask to mask.

    Bodies are ellipsoids of noise with a ball in them; five slices of the first are the support.
    """
    with TemporaryDirectory() as folder:
        images = [written(Path(folder), n, shape, spacing) for n in range(volumes + 1)]
        words = [sys.executable, "-m", "experiments.predict", "--output", f"{folder}/masks"]
        words += ["--support", f"{images[0]}:{folder}/label.nii.gz:1", "--shots", "5", "--image"]
        began = time.perf_counter()
        command = subprocess.Popen([*words, *images[1:]], stdout=subprocess.PIPE, text=True)
        lines = [(line, time.perf_counter() - began) for line in command.stdout]
        if command.wait():
            raise BadInput(f"predict ended with exit code {command.returncode}")
    done = [at for line, at in lines if " voxels, " in line]
    each = np.diff(done)
    used = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return dict(
        first_mask_seconds=done[0],
        volume_seconds=median(each) if len(each) else float("nan"),
        process_mib=used,
    )


def written(folder: Path, number: int, shape: Sequence[int], spacing: Sequence[float]) -> str:
    """Write one body, and the label of the first."""
    ball, middle = balls(shape), [n / 2 for n in shape]
    rng = np.random.default_rng(number)
    middle = [m + rng.uniform(-0.02, 0.02) * n for m, n in zip(middle, shape, strict=True)]
    grid = np.ogrid[tuple(slice(n) for n in shape)]
    far = sum(((a - m) / (0.45 * n)) ** 2 for a, m, n in zip(grid, middle, shape, strict=True))
    organ = ball([m - 0.1 * min(shape) for m in middle], min(shape) / 4)
    image = np.where(organ, 500, np.where(far < 1, 300, 20)) + rng.normal(0, 15, shape)
    affine = np.diag([*spacing, 1.0])
    path = folder / f"image_{number}.nii.gz"
    nib.save(nib.Nifti1Image(image.clip(0).astype(np.int16), affine), path)
    if number == 0:
        nib.save(nib.Nifti1Image(organ.astype(np.uint8), affine), folder / "label.nii.gz")
    return str(path)
