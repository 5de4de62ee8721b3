"""Which file is which: find images and their labels in a folder, and what the folder declares.

Six layouts are known and tried in this order. To add one, write a function from a folder to
`Found` (None if it is not that layout) and put it into `LAYOUTS`.

    medical decathlon   dataset.json with "training": [{"image", "label"}]
    nnU-Net v2          dataset.json with "channel_names", imagesTr/<case>_0000, labelsTr/<case>
    BIDS                sub-*/anat with labels in derivatives/ (bids.py)
    structure files     <patient>/ct.nii.gz with segmentations/liver.nii.gz ... (structure_files.py)
    two folders         images/ and labels/ (or imagesTr/ and labelsTr/) with equal names
    suffixes            one folder with t2.nii.gz and t2_seg.nii.gz

What none of them pairs is paired by words in the names, where that can be read in one way only, or
by the user's `pairs` (pairing.py). Endings count in any case: .NII.GZ too.

Nothing is guessed from voxels: a modality comes from the data set's own file or from the user.
"""

import re
from collections.abc import Callable
from pathlib import Path

from jaxmeta.data.formats.formats import case_stem, ending_of, endings, kinds
from jaxmeta.data.formats.unread import converted_by, unread_ending
from jaxmeta.data.layouts.bids import bids
from jaxmeta.data.layouts.found import Alone, Found, Pair, bare, described, unused, volumes_in
from jaxmeta.data.layouts.structure_files import structure_files
from jaxmeta.data.names import slug
from jaxmeta.errors import BadInput

LABEL_SUFFIX = re.compile(
    r"(?P<stem>.+?)[-_](?P<what>[a-z]*?)"
    r"(?:seg|segs|dseg|segmentation|label|labels|mask|masks|gt)(?:[-_]manual)?",
    re.IGNORECASE,
)  # t2_seg, t2_seg-manual, t2s_gmseg_manual ("gm"), spleen_2_label
PAIRS_OF_FOLDERS = (("images", "labels"), ("imagesTr", "labelsTr"), ("image", "label"))


# The layouts: (folder, the user's `pair_suffix`) -> Found, or None where it is another.


def decathlon(folder: Path, pair_suffix: str | None) -> Found | None:
    """Read the layout of the Medical Segmentation Decathlon."""
    declared = described(folder)
    if declared is None or not isinstance(declared.get("training"), list):
        return None
    if pair_suffix:
        raise BadInput(f"{folder}: its dataset.json names the pairs, `pair_suffix` cannot apply")
    channels = channel_names(declared)
    modality = channels[0] if channels else None
    names = {}
    for value, name in declared.get("labels", {}).items():
        if not str(value).isdigit():
            raise BadInput(f'{folder / "dataset.json"}: "labels" wants VALUE: NAME, not {value}')
        if int(value):
            names[unused(slug(name), names, folder)] = (int(value),)
    pairs, alone, listed = [], [], set()
    for row in declared["training"]:
        if not isinstance(row, dict) or not {"image", "label"} <= row.keys():
            raise BadInput(
                f'{folder / "dataset.json"}: "training" wants image and label, not {row}'
            )
        image, label = folder / row["image"], folder / row["label"]
        case = case_stem(label)
        if image.name.startswith("._"):
            continue
        if not image.exists():  # nnU-Net v1 lists the name without the number of the channel
            numbered = image.with_name(image.name.replace(case_stem(image), f"{case}_0000"))
            image = numbered if numbered.exists() else image
        listed |= {image.resolve(), label.resolve()}
        missing = [file for file in (image, label) if not file.exists()]
        pair = Pair(case, image, label, modality, channels=channels)
        if missing:
            own = pair._replace(label=None) if missing == [label] else None
            alone.append(Alone(case, f"{missing[0]}: in dataset.json but not there", own))
        else:
            pairs.append(pair)
    unlisted = tuple(
        str(Path(part) / file.name)
        for part in ("imagesTr", "labelsTr")
        for file in volumes_in(folder / part).values()
        if file.resolve() not in listed
    )
    tested = [row for row in declared.get("test", ()) if isinstance(row, str)]
    given = [folder / row for row in tested if (folder / row).exists()]
    more = tuple(Pair(case_stem(i), i, modality=modality, channels=channels) for i in given)
    called = slug(declared.get("name") or folder.resolve().name)
    return Found(called, pairs, names, alone, unlisted, unlabelled=more)


def nnunet(folder: Path, pair_suffix: str | None) -> Found | None:
    """Read the layout of nnU-Net v2; each channel is a volume of its own, of the same patient."""
    declared = described(folder)
    if declared is None or "channel_names" not in declared:
        return None
    if pair_suffix:
        raise BadInput(f"{folder}: its dataset.json names the pairs, `pair_suffix` cannot apply")
    where = folder / "dataset.json"
    ending = str(declared.get("file_ending", ".nii.gz"))
    if ending.lower() not in endings():
        told = f"is not {kinds()}; {converted_by(unread_ending(ending))}"
        raise BadInput(f"{where}: file_ending {ending} {told}")
    if "ignore" in declared.get("labels", {}):
        raise BadInput(f"{where}: has an ignore label; partly labelled scans are not supported")
    names = {}
    for name, values in declared.get("labels", {}).items():  # a region is a list of values
        values = values if isinstance(values, list) else [values]
        if values != [0]:
            names[unused(slug(name), names, folder)] = tuple(int(value) for value in values)
    channels = channel_names(declared)
    images, labels = volumes_in(folder / "imagesTr"), volumes_in(folder / "labelsTr")
    pairs, alone = [], []
    for case, label in labels.items():
        for number in range(len(channels)):
            image = images.pop(f"{case}_{number:04d}", None)
            if image is None:
                alone.append(Alone(case, f"{label}: no image {case}_{number:04d} in imagesTr"))
            else:
                pairs.append(of_channel(case, image, label, channels, number))
    alone += [
        Alone(stem, f"{image}: no label in labelsTr", one_channel(stem, image, channels))
        for stem, image in images.items()
    ]
    tested = volumes_in(folder / "imagesTs").items()
    more = (one_channel(stem, image, channels) for stem, image in tested)
    called = slug(declared.get("name") or folder.resolve().name)
    return Found(called, pairs, names, alone, unlabelled=tuple(filter(None, more)))


def one_channel(stem: str, image: Path, channels: tuple[str, ...]) -> Pair | None:
    """Take an image without a label, if it is one of the declared channels."""
    case, _, number = stem.rpartition("_")
    known = len(number) == 4 and number.isdecimal() and int(number) < len(channels)
    return of_channel(case, image, None, channels, int(number)) if known else None


def of_channel(
    case: str, image: Path, label: Path | None, channels: tuple[str, ...], number: int
) -> Pair:
    """Make the pair of one channel of a case; of several each is a volume of its own."""
    if len(channels) == 1:
        return Pair(case, image, label, channels[0], patient=case)
    pair = Pair(case_stem(image), image, label, channels[number], patient=case)
    return pair._replace(channels=channels, channel=number)


def two_folders(folder: Path, pair_suffix: str | None) -> Found | None:
    """Read images/ and labels/: equal names, or the label's with a suffix."""
    for here, there in PAIRS_OF_FOLDERS:
        if (folder / here).is_dir() and (folder / there).is_dir():
            break
    else:
        return None
    images, labels = volumes_in(folder / here), volumes_in(folder / there)
    pairs, alone = [], []
    for stem, label in labels.items():
        short, _ = _label_stem(stem, pair_suffix) or (stem, "")
        keys = [key for key in (stem, f"{stem}_0000", short, f"{short}_0000") if key in images]
        if keys:
            pairs.append(Pair(stem if stem in keys else short, images.pop(keys[0]), label))
        else:
            alone.append(Alone(stem, f"{label}: no image of that name in {here}/"))
    known = [pair.case for pair in pairs]
    alone += [
        Alone(stem, f"{image}: no label of that name in {there}/", bare(stem, image, known))
        for stem, image in images.items()
    ]
    return Found(slug(folder.resolve().name), pairs, None, alone)


def suffixes(folder: Path, pair_suffix: str | None) -> Found | None:
    """Read one folder in which a label is called like its image, with a suffix."""
    files = volumes_in(folder)
    known = {stem: found for stem in files if (found := _label_stem(stem, pair_suffix))}
    guessed = {stem for stem in files if _label_stem(stem, None)}
    images = {stem: file for stem, file in files.items() if stem not in known.keys() | guessed}
    pairs, alone, used = [], [], set()
    for stem, (short, what) in known.items():
        near = [image for image in images if re.match(re.escape(short) + "[-_]", image)]
        match = [short] if short in images else near  # spleen_2_label belongs to spleen_2_ct
        if len(match) == 1:
            pairs.append(Pair(match[0], images[match[0]], files[stem], what=what))
            used.add(match[0])
        else:
            several = f"several images ({', '.join(match)})" if match else f"no image {short}"
            alone.append(Alone(short, f"{files[stem]}: {several} for this label"))
    if known:
        suffix = pair_suffix or "_seg"
        for stem, file in images.items():
            if stem not in used:
                wanted = f"{stem}{suffix}{ending_of(file.name)}"
                pair = bare(stem, file, used)
                alone.append(Alone(stem, f"{file}: no label {wanted} for this image", pair))
    return Found(slug(folder.resolve().name), pairs, None, alone) if files else None


LAYOUTS: tuple[Callable[[Path, str | None], Found | None], ...] = (
    decathlon,
    nnunet,
    bids,
    structure_files,
    two_folders,
    suffixes,
)
DECLARED = LAYOUTS[:2]  # whose own files name the pairs


def channel_names(declared: dict) -> tuple[str, ...]:
    """Give the names of an image's channels as a dataset.json declares them, in their order."""
    names = declared.get("modality", declared.get("channel_names"))  # Decathlon, nnU-Net v2
    if isinstance(names, dict):
        numbers = sorted(names, key=lambda number: int(number) if number.isdecimal() else 0)
        names = [names[number] for number in numbers]
    if isinstance(names, list):
        return tuple(map(str, names))
    return (names,) if isinstance(names, str) else ()


def channels_beside(image: Path) -> tuple[str, ...]:
    """Give the channels' names for an image that lies in a data set's folder, or one above."""
    for folder in image.absolute().parents[:2]:
        declared = described(folder)
        if declared is not None:
            return channel_names(declared)
    return ()


def _label_stem(stem, pair_suffix):
    """(the image's stem, the kind of label) if a file's name says that it is a label."""
    if pair_suffix:
        return (stem[: -len(pair_suffix)], "") if stem.endswith(pair_suffix) else None
    match = LABEL_SUFFIX.fullmatch(stem)
    return (match["stem"], match["what"].lower()) if match else None
