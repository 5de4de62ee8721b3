"""A folder a patient, with an image and a mask of each structure: TotalSegmentator, many exports.

    s0011/ct.nii.gz                     s0011/image.nii.gz
    s0011/segmentations/liver.nii.gz    s0011/liver.nii.gz
    s0011/segmentations/spleen.nii.gz   s0011/spleen.nii.gz

A structure is called like its file. Masks may overlap, for each is read by itself. An empty one
says that the organ is not there; of an organ without a file nothing is known. An image called ct or
mri is of that modality. A second image, as T1.nii.gz, is no structure: which one is meant has to be
said. The folder of one patient will do.
"""

from collections.abc import Sequence
from pathlib import Path

from jaxmeta.data.formats.formats import case_stem
from jaxmeta.data.layouts.found import Alone, Found, Pair, volumes_in
from jaxmeta.data.names import slug
from jaxmeta.data.words import is_sequence, template
from jaxmeta.errors import BadInput

NAMED = {"ct": "ct", "mr": "mr", "mri": "mr"}  # an image that is called like its modality is of it


def structure_files(folder: Path, pair_suffix: str | None) -> Found | None:
    """Read a folder a patient, or the folder of one, with a mask of each structure."""
    inside = sorted(place for place in folder.iterdir() if place.is_dir() and place.name[0] != ".")
    places = [folder] if _held(folder)[1] else inside
    held = {place: _held(place) for place in places}
    if pair_suffix or not any(images and masks for images, masks in held.values()):
        return None
    pairs, alone = [], []
    for place, (images, masks) in held.items():
        if len(images) == 1 and masks:
            label = next(iter(masks.values()))
            pairs.append(of_patient(place, images)._replace(label=label, files=masks))
        elif images or masks:
            several = ", ".join(image.name for image in images)
            say = "keep one, or say which belong together, by `pairs='{id}/image' '{id}/liver'`"
            why = f"several images ({several}); {say}" if images else "masks without an image"
            told = f"{place}: {why if masks else 'an image without masks'}"
            alone.append(Alone(place.name, told, None if masks else of_patient(place, images)))
    return Found(slug(folder.resolve().name), pairs, None, alone)


def of_patient(place: Path, images: Sequence[Path]) -> Pair | None:
    """Take the one image of a patient, whoever labelled it."""
    if len(images) != 1:
        return None
    return Pair(place.name, images[0], modality=NAMED.get(case_stem(images[0]).lower()))


def _held(place: Path) -> tuple[list[Path], dict[str, Path]]:
    """Find a patient's images, and structure -> mask; no masks where these files are something
    else."""
    files = volumes_in(place)
    within = [
        found
        for inner in sorted(place.iterdir())
        if inner.is_dir() and template(inner.name).label and not template(inner.name).id
        if (found := volumes_in(inner))
    ]
    if len(within) == 1:
        images, masks = list(files.values()), within[0]
        if set(files) & {template(stem).id for stem in masks} or set(files) & set(masks):
            return [], {}  # labels of images that are called alike: pairs, not structures
        own = {stem: file for stem, file in files.items() if not template(stem).id}
        return (list(own.values()) if len(own) == 1 else images), _named(masks)
    words = {stem: template(stem) for stem in files}
    images = [files[stem] for stem, told in words.items() if told.image and not told.id]
    if images:  # a T1 beside the image is a second one, and no structure of that name
        images += [file for stem, file in files.items() if is_sequence(words[stem].id)]
    masks = {s: f for s, f in files.items() if words[s].id and not is_sequence(words[s].id)}
    label_maps = [stem for stem, told in words.items() if told.label and not told.id]
    if within or label_maps or any(words[stem].image for stem in masks) or not images:
        return [], {}
    return images, _named(masks)


def _named(masks):
    """Give structure -> file: a name without the words for a label that it may have."""
    named = {}
    for stem, file in masks.items():
        name = slug(template(stem).id or stem)
        if name in named:
            raise BadInput(f"{named[name]} and {file} are both of {name}; remove one")
        named[name] = file
    return named
