"""What a scan and a structure's masks hold, shortened to a few characters of their own."""

import hashlib
from collections.abc import Iterable

import numpy as np
from jaxtyping import Integer

ROW = 1 << 15  # words that are folded on each other: what a core's nearest cache holds
FACTOR = np.uint32(0x9E3779B1)  # odd, so that no row is lost


def fingerprint(
    values: Integer[np.ndarray, "x y z"], slope: float = 1.0, intercept: float = 0.0
) -> str:
    """Shorten a scan's real values, slope * values + intercept, to sixteen characters of its own.

    What counts is how its values lie to each other, not the header, the type or the scale that hold
    them: whole numbers count from the least, in steps of what divides all, so a CT that was saved
    again by its real values, as floats or with 1024 added, is the same scan. Other numbers count by
    their order: floats are one scan in 32 and in 64 bits, and are what a file of 16 bits with a
    broken slope makes of its own. A copy whose numbers were rounded anew, resampled or turned is
    another scan, and so is one that was scaled to numbers that are not whole.

    Hashing every byte would be a twentieth of the preparation. So rows r of 32-bit words are folded
    first, to sum_k r_k FACTOR^(n - k) modulo 2^32, word by word: two scans would have to agree in
    every sum.
    """
    digest = hashlib.sha1(repr(values.shape).encode(), usedforsecurity=False)
    stored = np.ascontiguousarray(values.T).astype("<i2", copy=False).reshape(-1)  # as in the file
    least = int(stored.min())
    most = int(stored.max()) if slope != 1 else least + 65535  # a pass less for most scans
    numbers = stored.view("<u2")
    count = _levels(numbers, (least, most), slope, intercept)
    folded, level = np.zeros(ROW, "<u4"), np.empty(2 * ROW, "<u2")
    whole = numbers.size // (2 * ROW) * 2 * ROW
    for start in range(0, whole, 2 * ROW):
        count(numbers[start : start + 2 * ROW], level)
        folded *= FACTOR
        folded += level.view("<u4")
    digest.update(folded)
    count(numbers[whole:], level[: numbers.size - whole])
    digest.update(level[: numbers.size - whole])
    return digest.hexdigest()[:16]


def _levels(numbers, ends, slope, intercept):
    """Make count(numbers, out): what each number counts as, from 0 upward; all is modulo 65536."""
    (least, most), zero = ends, np.uint16(ends[slope < 0] % 65536)
    step = _step(numbers, zero) or 1
    # else a copy in floats has lost some of its levels
    exact = abs(slope) * (most - least) <= 65535
    if exact and all(float(n).is_integer() for n in (slope * step, slope * least + intercept)):

        def count(numbers, out):
            np.subtract(*((zero, numbers) if slope < 0 else (numbers, zero)), out=out)
            if step > 1:
                np.floor_divide(out, np.uint16(step), out=out)

        return count
    there = np.zeros(65536, bool)
    for start in range(0, numbers.size, 2 * ROW):
        there[numbers[start : start + 2 * ROW]] = True
    order = np.roll(np.cumsum(np.roll(there, -(least % 65536))) - 1, least % 65536)
    order = (there.sum() - 1 - order if slope < 0 else order).astype("<u2")
    return lambda numbers, out: np.take(order, numbers, out=out, mode="clip")


def _step(numbers, zero):
    """Find the largest number that divides all distances; most scans have 1 in their first row."""
    step = 0
    for start in range(0, numbers.size, 2 * ROW):
        apart = numbers[start : start + 2 * ROW] - zero
        rest = apart % np.uint16(step) if step else apart
        if rest.any():
            step = int(np.gcd.reduce(rest[:999], initial=step))  # most often 1 by these
            step = step if step == 1 else int(np.gcd.reduce(np.unique(rest), initial=step))
        if step == 1:
            break
    return step


def mask_digest(masks: Iterable[tuple[int, int, bytes]]) -> str:
    """Shorten a structure's masks (slice, pixels, record) to twelve characters."""
    digest = hashlib.sha1(usedforsecurity=False)
    for plane, _, record in masks:
        digest.update(plane.to_bytes(4, "little") + record)
    return digest.hexdigest()[:12]
