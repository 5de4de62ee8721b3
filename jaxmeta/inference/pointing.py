"""Segment what is pointed at in one volume, by Segment Anything: a run of it, or converted weights.

Read `prompts.py` for what a network is told.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.special import expit

from jaxmeta.data.grid import Grid, sliced_shape, spacing
from jaxmeta.data.intensity import ends
from jaxmeta.data.orientation import ACQUIRED
from jaxmeta.data.postprocess import highest, largest_components
from jaxmeta.data.scan import network_input
from jaxmeta.errors import BadInput
from jaxmeta.inference.found import FoundVolume
from jaxmeta.inference.options import Options, told_reading
from jaxmeta.inference.prompts import open_network, parse_pointed, pointer
from jaxmeta.inference.run_reading import reading_for, teller
from jaxmeta.inference.scan import Reading, check_rescale, read_scan, tell_channel
from jaxmeta.methods.networks.segment_anything import converted
from jaxmeta.models.sam import Sam
from jaxmeta.models.sam.images import HIGH, LOW, Preprocessing, layout_of
from jaxmeta.progress import following, slow_start
from jaxmeta.runs import config_file
from jaxmeta.runs.config import Config
from jaxmeta.runs.run import open_run


def segmented(options: Options) -> Iterator[FoundVolume]:
    """Segment what is pointed at in one volume."""
    (image,) = options.image
    pointed = parse_pointed(options.box, options.click, options.click_outside)
    is_run = not converted(options.run)
    network, variables, preprocessing = open_network(options.run, is_run=is_run)
    reading = reading_to_point(options, is_run)
    check_rescale([image], reading)
    tell_channel([image], reading, told_reading(options).get("channel"))
    tell = tell_pointed(options, network, preprocessing, reading)
    scan = read_scan(image, reading._replace(tell=tell))
    grid, slices = scan.geometry, network_input(scan, range(len(scan.values)), None)
    # published weights saw all greys; runs what `slices_as_colors` makes of the same slices
    window = (LOW, HIGH) if is_run else ends(scan.intensity)
    segment = pointer(network, variables, preprocessing, window)
    try:
        with following("predict", "volume", first=slow_start()):
            numbers, logits = segment(slices, grid, tuple(pointed.values()))
    except BadInput as error:
        raise BadInput(f"{image}: {error}") from None
    values = tuple(pointed)
    labels = np.zeros(slices.shape[:3], np.uint16)
    labels[numbers] = highest(logits, values, above=0.0)
    labels = largest_components(labels) if options.largest_component else labels
    maps = (spread(expit(each), numbers, len(slices)) for each in logits)
    most = tuple(float(expit(each.max())) for each in logits)
    yield FoundVolume(image, grid, slices[..., 0], values, labels, most, maps)


def tell_pointed(
    options: Options, network: Sam, preprocessing: Preprocessing, reading: Reading
) -> Callable:
    """Make what tells how a volume that is pointed into is read; converted weights saw what they
    saw."""
    size = network.size

    def seen_as(grid: Grid) -> tuple[float, float]:
        plane = sliced_shape(grid)[1:]
        inner = layout_of(
            *plane, size.image, patch=size.patch, stretched=preprocessing.stretched
        ).inner
        return tuple(n * mm / m for n, mm, m in zip(plane, spacing(grid)[1:], inner, strict=True))

    config = Config() if converted(options.run) else config_file.read_run(options.run)[0]
    return teller(
        options.run,
        config,
        reading,
        modality=told_reading(options).get("modality"),
        seen_as=seen_as,
    )


def spread(slices: np.ndarray, numbers: Sequence[int], count: int) -> np.ndarray:
    """Put slices where they belong among so many, the others 0."""
    whole = np.zeros((count, *slices.shape[1:]), slices.dtype)
    whole[numbers] = slices
    return whole


def reading_to_point(options: Options, is_run: bool) -> Reading:
    """Read a volume as a run of Segment Anything did, or as the command line says."""
    if is_run:
        reading = reading_for(open_run(options.run), **told_reading(options))
        if reading.mm is not None:
            raise BadInput(
                f"{options.run} learned from slices of one `tasks.spacing`: train without"
            )
        return reading
    if options.modality == "auto":
        raise BadInput(
            "converted weights do not say what the volume is: `modality=ct` or `modality=mr`"
        )
    return Reading(size=0, mm=None, **{"axis": ACQUIRED} | told_reading(options))
