"""How long the measures of one large case take."""

import resource
import time
from collections.abc import Callable, Sequence

import numpy as np

from jaxmeta.metrics import CONVENTIONS, DEFAULT, measure


def metrics(shape: Sequence[int], spacing: Sequence[float]) -> dict[str, float]:
    """Time a liver with a false positive in the far corner by every convention, and two hard cases.

    A small ball within a large one, and a ball within a thin shell: from their middles all points
    of the outer surface are about as far, which is the worst that a search for the nearest can
    meet.
    """
    ball = balls(shape)
    middle = [n / 2 for n in shape]
    radius = min(shape) / 2.15
    liver = ball(middle, radius)
    found = ball([n + 2 for n in middle], radius * 0.97) | ball([n - 6 for n in shape], 4)
    shell = liver & ~ball(middle, radius - 3)
    cases = {
        **{f"{name}_seconds": (found, liver, each) for name, each in CONVENTIONS.items()},
        "ball_in_ball_seconds": (ball(middle, radius / 4), liver, DEFAULT),
        "ball_in_shell_seconds": (shell, ball(middle, radius / 2.3), DEFAULT),
    }
    seconds = {}
    for name, (predicted, target, convention) in cases.items():
        began = time.perf_counter()
        measure(predicted, target, spacing=spacing, convention=convention)
        seconds[name] = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return seconds | {"process_mib": used}


def balls(shape: Sequence[int]) -> Callable[[Sequence[float], float], np.ndarray]:
    """Make (center, radius) -> the mask of a ball, in voxels."""
    grid = np.ogrid[tuple(slice(n) for n in shape)]

    def ball(center: Sequence[float], radius: float) -> np.ndarray:
        return sum((a - c) ** 2 for a, c in zip(grid, center, strict=True)) <= radius**2

    return ball
