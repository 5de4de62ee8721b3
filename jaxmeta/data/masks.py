"""From an integer label volume to one small record a structure and slice, and back."""

import struct

import numpy as np
from jaxtyping import Bool, Integer, UInt8
from scipy.ndimage import find_objects

CORNER = struct.Struct("<4H")  # top, left, height, width of a crop


def masks_of(
    slices: Integer[np.ndarray, "N H W"], names: dict[str, tuple[int, ...]] | None, prefix: str
) -> tuple[dict[str, list[tuple[int, int, bytes]]], list[int]]:
    """Pick each structure out of a label volume: (structure -> masks, values without a name).

    `names` says which values a structure is made of; without it value v is called `prefix` v. A
    mask is (slice, pixels, record); a slice without the structure has none, so it costs nothing.
    """
    highest = int(slices.max())
    if highest > 65535:  # values are codes, not counters: number those that are there
        values = np.union1d([0], np.unique(slices))
        slices = np.searchsorted(values, slices)
    else:
        values = np.arange(highest + 1)
    slices = slices.astype(np.uint8 if len(values) <= 256 else np.int32, copy=False)
    found = {structure: [] for structure in names or ()}
    seen = set()
    rows, columns = slices.any(axis=2), slices.any(axis=1)
    for number in np.flatnonzero(rows.any(axis=1)):
        top, bottom = _ends(rows[number])
        left, right = _ends(columns[number])
        window = np.ascontiguousarray(slices[number, top:bottom, left:right])
        if len(values) == 2:  # one structure fills its window
            boxes = {int(values[1]): (1, tuple(map(slice, (0, 0), window.shape)))}
        else:
            found_at = enumerate(find_objects(window, len(values) - 1), 1)
            boxes = {int(values[v]): (v, box) for v, box in found_at if box}
        seen |= boxes.keys()
        for structure, parts in _by_structure(boxes, names, prefix).items():
            up, near, mask = _mask(window, parts)
            record = encode_mask(mask, top + up, left + near)
            found.setdefault(structure, []).append(
                (int(number), int(np.count_nonzero(mask)), record)
            )
    named = seen if names is None else {value for group in names.values() for value in group}
    return found, sorted(seen - named)


def encode_mask(mask: Bool[np.ndarray, "h w"], top: int, left: int) -> bytes:
    """Pack a crop of a slice: its corner and size, then one bit a pixel."""
    return CORNER.pack(top, left, *mask.shape) + np.packbits(mask).tobytes()


def decode_mask(record: bytes) -> tuple[int, int, UInt8[np.ndarray, "h w"]]:
    """Undo `encode_mask`: (top, left, crop)."""
    top, left, height, width = CORNER.unpack_from(record)
    packed = np.frombuffer(record, np.uint8, offset=CORNER.size)
    bits = np.unpackbits(packed, count=height * width)
    return top, left, bits.reshape(height, width)


def _ends(line):
    return int(line.argmax()), len(line) - int(line[::-1].argmax())


def _by_structure(boxes, names, prefix):
    """structure -> [(number, box) of those of its values that the slice holds]."""
    if names is None:
        return {f"{prefix}{value}": [part] for value, part in boxes.items()}
    parts = {name: [boxes[v] for v in group if v in boxes] for name, group in names.items()}
    return {name: group for name, group in parts.items() if group}


def _mask(window, parts):
    """(top, left, crop) of the union of some values in a window."""
    if len(parts) == 1:
        number, box = parts[0]
        return box[0].start, box[1].start, window[box] == number
    boxes = [box for _, box in parts]
    top, left = (min(box[axis].start for box in boxes) for axis in (0, 1))
    bottom, right = (max(box[axis].stop for box in boxes) for axis in (0, 1))
    crop = window[top:bottom, left:right]
    return top, left, np.isin(crop, [number for number, _ in parts])
