"""Segment volumes by a few labelled slices alone: no run, no training, no other structure.

The labelled slices are an atlas (`jaxmeta/atlas/`). Scans are read as shards are; what a run would
say of them - modality, orientation - is what the first labelled volume says.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

from jaxmeta.atlas import segment
from jaxmeta.data.formats.image import Image, read_image
from jaxmeta.data.grid import pixel, sliced_shape, spacing
from jaxmeta.data.orientation import ACQUIRED, frame_to_text, own_frame
from jaxmeta.data.scan import Scale, Scan
from jaxmeta.evaluation.trial import atlas_of, places, places_for
from jaxmeta.inference.found import FoundVolume
from jaxmeta.inference.notes import AIR, TWICE, described_reading, lowest, millimeters, warn
from jaxmeta.inference.options import Options, told_reading
from jaxmeta.inference.scan import Reading, told
from jaxmeta.inference.support import LabelledPair, parsed
from jaxmeta.inference.volumes import segmented_volumes, supports_of
from jaxmeta.progress import say

SIZE = 96  # pixels of a side; see RESULTS.md for others


def segmented(options: Options) -> Iterator[FoundVolume]:
    """Take the support as an atlas, then give what is found in each image."""
    pairs = [parsed(text) for text in options.support]
    reading = reading_like(pairs[0], options)
    supports = supports_of(options, pairs, reading)
    shots = max(len(support.place) for support in supports)
    say(f"place and intensity of {shots} slice(s) of {len(pairs)} volume(s), without any training")
    atlases = [atlas_of(support) for support in supports]

    def answer(slices):
        place = places(len(slices))
        return np.stack(
            [segment(atlas, slices[..., 0], places_for(atlas, place)) for atlas in atlases]
        )

    yield from segmented_volumes(options, reading, lambda: answer)


def reading_like(pair: LabelledPair, options: Options) -> Reading:
    """Read files as the first labelled volume is, or as told."""
    given = told_reading(options)
    axis = given.get("axis") or ACQUIRED
    fill_nan, channel = given.get("fill_nan"), given.get("channel")
    reading = Reading(SIZE, None, axis, "mr", fill_nan, channel, (), options.rescale)
    path = pair[0]
    image = read_image(path, **told(path, reading))
    frame = frame_to_text(own_frame(image.values.shape, image.affine, axis))
    modality = given.get("modality") or ("ct" if options.rescale or has_air(image) else "mr")
    reading = reading._replace(modality=modality, frames=(frame,))
    return reading._replace(tell=teller(reading, guessed="modality" not in given))


def has_air(image: Image) -> bool:
    """Tell whether voxels reach as far below 0 as air does in HU."""
    return lowest(image.values, Scale(image.slope, image.intercept)) <= AIR


def teller(reading: Reading, *, guessed: bool) -> Callable[[Path, Scan], None]:
    """Make tell(path, scan): prints how each file is read, once, and what of it is unlike the first
    one, a labelled volume."""
    seen: dict[Path, Scan] = {}

    def tell(path: Path, scan: Scan) -> None:
        if path in seen:
            return
        first = next(iter(seen.values()), None)
        seen[path] = scan
        grid = scan.geometry
        compared = pixel(grid, reading.size, reading.mm)
        say(described_reading(path, grid, reading, compared, by="as compared"))
        if guessed and (lowest(scan.values, scan.scale) <= AIR) != (reading.modality == "ct"):
            looks = "CT in HU" if reading.modality == "mr" else "no CT in HU"
            warn(
                f"{path}: by its values it is {looks}, and is read as {reading.modality} like the "
                "support: say `modality=ct` or `modality=mr`, and take a support of its own kind"
            )
        if first is not None:
            for text in unlike_support(first, scan):
                warn(f"{path}: {text}")

    return tell


def unlike_support(first: Scan, scan: Scan) -> list[str]:
    """Say in what a scan lies otherwise than the support: its plane, field of view, pixels."""
    one, other = first.geometry, scan.geometry
    told = []
    if one.axis != other.axis:
        told.append(f"its slices are {other.axis}, and the support's are {one.axis}")
    for what, of in (("field of view", field_of_view), ("pixel", lambda grid: spacing(grid)[1:])):
        sides = of(one), of(other)
        if any(max(pair) > TWICE * min(pair) for pair in zip(*sides, strict=True)):
            own, others = (millimeters(each) for each in sides)
            told.append(
                f"its {what} is {others}, and the support's is {own}: more than twice as large or "
                "small, so the structure may not lie where it is looked for"
            )
    return told


def field_of_view(grid) -> Sequence[float]:
    """Give the sides of a slice, in mm."""
    return [n * mm for n, mm in zip(sliced_shape(grid)[1:], spacing(grid)[1:], strict=True)]
