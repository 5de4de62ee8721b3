"""BIDS: images in sub-*/[ses-*/]anat, their labels in derivatives/PIPELINE/sub-*/[ses-*/]anat.

A BIDS name is a chain of entities `key-value` and a last word: sub-01_ses-2_acq-fast_T1w. A label
repeats the entities of its image, and adds some that speak of itself: sub-01_label-spleen_mask,
sub-01_desc-manual_dseg. These with the last word are its kind. Where there are several pipelines,
kinds or contrasts, it is the user who says which. Sessions of one subject are one patient.

The standard: https://bids-specification.readthedocs.io, "Imaging data types" of the derivatives.
"""

import re
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from jaxmeta.data.layouts.bids_tables import lookup
from jaxmeta.data.layouts.found import Alone, Found, Pair, volumes_in
from jaxmeta.data.names import slug
from jaxmeta.errors import BadInput

PLACES = ("anat", "ct", "")  # CT is a proposal (BEP024); some pipelines leave the folder out
OF_LABEL = ("label", "desc", "seg", "atlas", "scale", "space", "res", "den")  # entities
LABELS = ("dseg", "mask", "seg")  # "seg": the Spinal Cord Toolbox
NEITHER = ("probseg", "defacemask")
NATIVE = ("orig", "individual", "scanner")  # spaces that are the scan's own


class BidsFile(NamedTuple):
    """A file, and what its name says."""

    file: Path
    stem: str
    subject: str
    source: frozenset[str]  # the entities of the scan that it is, or that it was drawn on
    contrast: str  # T1w, T2w, ct; "" where a label does not say
    space: str | None  # None is the scan's own
    kind: str  # of a label, as `pair_suffix` takes it: _label-spleen_mask; "" of an image


def bids(folder: Path, pair_suffix: str | None) -> Found | None:
    """Read a BIDS data set with labels in its derivatives, or one of its derivatives."""
    if not (_folders(folder) or (folder / "dataset_description.json").exists()):
        return None
    root = _root(folder)
    derived = root != folder
    home, labels = (
        (folder, _labels(folder, pair_suffix)) if derived else _pipeline(root, pair_suffix)
    )
    if not labels:
        raise BadInput(_nothing(folder, home, pair_suffix))
    images = (_images(home) if derived else []) or _images(root)  # a pipeline's own lie nearer
    if not images:
        raise BadInput(
            f"{folder}: labels without images; put them into derivatives/PIPELINE of their data set"
        )
    fits = _fits(images, labels)
    kinds = sorted({label.kind for label, own in zip(labels, fits, strict=True) if own})
    if len({re.sub("label-[^_]+", "label-", kind) for kind in kinds}) > 1:
        raise BadInput(
            f"{home}: labels of several kinds; choose with `pair_suffix` {' or '.join(kinds)}"
        )
    contrasts = tuple(sorted({image.contrast for own in fits for image in own}))
    pairs, alone = [], []
    done = set()  # of a session's scans of one contrast some have labels
    for label, own in zip(labels, fits, strict=True):
        names = lookup(label.file, root) if label.kind.endswith("dseg") else None
        for image in own:
            pair = of_image(image, contrasts)._replace(
                case=image.stem + (label.kind if len(kinds) > 1 else ""),
                label=label.file,
                choose=len({image.contrast for image in own}) > 1,
                names=names or _named(label),
                atlas=names is not None,
            )
            pairs.append(pair)
            done.add((image.file.parent, image.contrast))
        if not own and label.space is None:  # those in a standard space are for other uses
            alone.append(Alone(label.stem, f"{label.file}: no image of this label"))
    alone += [
        Alone(
            image.stem,
            f"{image.file}: no label of this image in {home}",
            of_image(image, contrasts),
        )
        for image in images
        if image.contrast in contrasts and (image.file.parent, image.contrast) not in done
    ]
    # The folder's name, for "Name" in dataset_description.json is often a whole sentence.
    return Found(slug(root.resolve().name), pairs, None, alone)


def of_image(image: BidsFile, contrasts: tuple[str, ...]) -> Pair:
    """Make what is known of an image, whoever labelled it."""
    return Pair(
        case=image.stem,
        image=image.file,
        modality="ct" if image.contrast.lower() == "ct" else "mr",
        patient=image.subject,
        channels=contrasts,
        channel=contrasts.index(image.contrast),
    )


def bids_parsed(file: Path, stem: str, pair_suffix: str | None) -> BidsFile:
    """Take a BIDS name to pieces; a file is a label if its last word says so, or the user."""
    parts = stem.split("_")
    entities = dict(part.split("-", 1) for part in parts if "-" in part)
    space = entities.get("space")
    own = [part for part in parts if "-" in part and part.split("-")[0] in OF_LABEL]
    words = [part for part in parts if "-" not in part]
    label = parts[-1] in LABELS or parts[-1].startswith("seg-")  # sub-01_T2w_seg-manual
    if pair_suffix and stem.endswith(pair_suffix):
        label = True
    ending = words[-1:] if label and "-" not in parts[-1] else []
    return BidsFile(
        file=file,
        stem=stem,
        subject=f"sub-{entities.get('sub', '')}",
        source=frozenset(part for part in parts if "-" in part and part not in own),
        contrast="_".join(words[: len(words) - len(ending)]),
        space=None if space in NATIVE else space,
        kind="_" + "_".join(own + ending) if label else "",
    )


def _root(folder):
    """Give the data set that a folder is, or is a derivative of."""
    for outer in (folder.absolute(), folder.absolute().parent):
        if outer.name == "derivatives":
            return outer.parent
    return folder


def _folders(root):
    """List the folders of a data set, or of a pipeline, that hold volumes of anatomy."""
    sessions = [*root.glob("sub-*"), *root.glob("sub-*/ses-*")]
    return sorted(s / place for s in sessions for place in PLACES if (s / place).is_dir())


def _volumes(root, pair_suffix=None):
    files = [(stem, file) for place in _folders(root) for stem, file in volumes_in(place).items()]
    return [bids_parsed(file, stem, pair_suffix) for stem, file in files]


def _images(root):
    return [v for v in _volumes(root) if not v.kind and v.contrast and v.contrast not in NEITHER]


def _labels(root, pair_suffix):
    wanted = pair_suffix and "_" + pair_suffix.removeprefix("_")
    labels = [volume for volume in _volumes(root, pair_suffix) if volume.kind]
    return [label for label in labels if wanted in (None, label.kind)]


def _pipeline(root, pair_suffix):
    """Find the one folder that holds labels: a pipeline's, else the data set's own."""
    derived = root / "derivatives"
    places = sorted(p for p in derived.glob("*") if p.is_dir() and not p.name.startswith("sub-"))
    held = {place: found for place in [derived, *places] if (found := _labels(place, pair_suffix))}
    if len(held) > 1:
        several = " or ".join(map(str, held))
        raise BadInput(f"{root}: labels in several derivatives; give the folder of one: {several}")
    return next(iter(held.items()), (root, _labels(root, pair_suffix)))


def _fits(images, labels):
    """Give for each label the images that it may be of."""
    near = defaultdict(list)
    for image in images:
        near[image.source].append(image)
    return [
        [
            image
            for image in near[label.source]
            if label.contrast in ("", image.contrast)
            and label.space in (image.space, image.contrast)
        ]
        for label in labels
    ]


def _named(label):
    """A mask is of one structure, and label- tells which; desc- may tell anything."""
    told = re.search("_label-([^_]+).*(_mask|_seg)", label.kind)
    return {slug(told[1]): (1,)} if told and slug(told[1]) else None


def _nothing(folder, home, pair_suffix):
    """Say what was looked for, and what there is instead."""
    derived = sorted(p for p in (home / "derivatives").glob("*") if p.is_dir())
    kinds = sorted({v.kind for place in [home, *derived] for v in _labels(place, None)})
    if pair_suffix and kinds:
        return f"{folder}: no label {pair_suffix}; choose with `pair_suffix` {' or '.join(kinds)}"
    there = ", ".join(place.name for place in derived)
    return (
        f"{folder}: a BIDS data set without labels; put them into derivatives/PIPELINE/sub-*/anat/ "
        f"as *_dseg.nii.gz or *_mask.nii.gz, or give their `pair_suffix` "
        f"(in derivatives/ now: {there or 'nothing'})"
    )
