"""From volumes in files to what is found in them, whoever answers."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from jaxtyping import Float

from jaxmeta.data.grid import restore
from jaxmeta.data.postprocess import predicted_labels
from jaxmeta.evaluation.trial import Support
from jaxmeta.inference.found import FoundVolume
from jaxmeta.inference.options import Options, told_reading
from jaxmeta.inference.scan import Reading, check_rescale, read_scan, seen, tell_channel
from jaxmeta.inference.support import LabelledPair, drawn_supports, read_support
from jaxmeta.progress import following

Answer = Callable[[Float[np.ndarray, "N S S 1"]], Float[np.ndarray, "K N S S"]]


def supports_of(
    options: Options, pairs: Sequence[LabelledPair], reading: Reading, few: int | None = None
) -> list[Support]:
    """Read the supports of every structure, as many draws of each as are wanted, one after the
    other; before, refuse what was told of files and fits none."""
    scans = [*(image for image, _, _ in pairs), *options.image]
    check_rescale(scans, reading)
    tell_channel(scans, reading, told_reading(options).get("channel"))
    each = options.structures or (None,)
    how = dict(support_sets=options.support_sets, seed=options.seed, few=few)
    return [
        drawn
        for value in each
        for drawn in drawn_supports(
            read_support(pairs, reading, value, tell=value == each[0]), options.shots or None, **how
        )
    ]


def segmented_volumes(
    options: Options, reading: Reading, begin: Callable[[], Answer], first: str = ""
) -> Iterator[FoundVolume]:
    """Give what is found in each image, one after the other.

    `begin()` makes answer(slices), the probabilities of all supports in the order of `supports_of`;
    those of one structure's draws are averaged. `first` is told before.
    """
    values = options.structures or (1,)
    how = dict(spacing=reading.mm, largest_component=options.largest_component)
    with following("predict", "volume", len(options.image), first=first) as further:
        answer = begin()
        for image in options.image:
            scan = read_scan(image, reading)
            slices, grid = seen(scan, reading), scan.geometry
            found = answer(slices)
            found = found.reshape(-1, options.support_sets, *found.shape[1:]).mean(1)
            labels, whole = predicted_labels(found, values, grid, **how)
            native = restore(slices[..., 0], grid, spacing=reading.mm)
            highest = tuple(float(each.max()) for each in whole)
            yield FoundVolume(image, grid, native, values, labels, highest, whole)
            further(more=1, note=image.name)
