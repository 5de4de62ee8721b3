"""Segment structures in one's own volumes, and write the masks: what the command `predict` does.

A structure is shown in a few labelled slices - to a run (`few_shot.py`), or to nobody that was
trained (`untrained.py`) - or pointed at (`pointing.py`), or a run knows it already (`learned.py`).
Each mask is saved on its image's own grid with its header, and is there whole or not at all.
"""

import importlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from jaxmeta.data.formats.formats import case_stem, is_image, kinds
from jaxmeta.data.formats.unread import conversion
from jaxmeta.errors import BadInput
from jaxmeta.inference.found import FoundVolume, pictures, save_found
from jaxmeta.inference.options import Options, check, pointed
from jaxmeta.inference.support import parsed
from jaxmeta.reports import figures


def predict(options: Options) -> list[Path]:
    """Write a mask for every image; return the masks' paths."""
    return [path for path, _ in saved(options)]


def saved(options: Options) -> Iterator[tuple[Path, FoundVolume]]:
    """Save what is found in each image, and give it with its mask's path; in the end a picture."""
    check(options)
    masks = outputs(options, inputs(options))
    overlay, shown = options.output / "overlay.png", []
    for path, found in zip(masks, segmented(options), strict=True):
        options.output.mkdir(parents=True, exist_ok=True)
        save_found(path, found, overlay, probabilities=options.probabilities)
        shown += pictures(found)
        yield path, found
    figures.overlay(overlay, shown)


def segmented(options: Options) -> Iterator[FoundVolume]:
    """Give what is found in each image, and write nothing."""
    check(options)
    refuse_missing(options, inputs(options))
    return importlib.import_module(f"jaxmeta.inference.{answering(options)}").segmented(options)


def answering(options: Options) -> str:
    """Name the module that answers; it is imported when it is asked, for a mask without training
    should not wait for what trains."""
    if options.support:
        return "untrained" if options.run == "none" else "few_shot"
    return "pointing" if pointed(options) else "learned"


def inputs(options: Options) -> list[Path]:
    """List the files of the support."""
    pairs = (parsed(text) for text in options.support)
    return [path for image, label, _ in pairs for path in (image, label)]


def refuse_missing(options: Options, inputs: Sequence[Path]) -> None:
    """Refuse what is not there, and images of other formats."""
    for path in (*inputs, *options.image):
        if not path.is_file() and not (path.is_dir() and is_image(path)):
            raise BadInput(f"{path}: there is no such file")
    for path in options.image:
        if not is_image(path):
            raise BadInput(f"{path}: not a {kinds()} file; {conversion(path)}")


def outputs(options: Options, inputs: Sequence[Path]) -> list[Path]:
    """Name the masks, refusing what is missing and what would be written over."""
    refuse_missing(options, inputs)
    masks = [options.output / f"{case_stem(image)}.nii.gz" for image in options.image]
    for number, mask in enumerate(masks):
        if mask in masks[:number]:
            raise BadInput(
                f"two images would both be {mask}: predict them into folders of their own"
            )
        if any(mask.resolve() == path.resolve() for path in (*inputs, *options.image)):
            raise BadInput(f"{mask} is one of the inputs: give another `output`")
    return masks
