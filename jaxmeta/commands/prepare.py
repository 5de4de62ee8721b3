"""Turn folders of NIfTI volumes with labels into slice shards.

    python -m experiments.prepare_data --input DIR [DIR ...] --output SHARDS

Run it again after an interruption or with more volumes: what is done and unchanged is skipped.
"""

import re
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Any, Literal

from jaxmeta.commands.command import parse_words, spelled
from jaxmeta.data.names import amount
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.summary import Summary
from jaxmeta.errors import BadInput
from jaxmeta.files import Place
from jaxmeta.options import options
from jaxmeta.progress import following


@options
class Reading:
    """What the files do not say, or say otherwise."""

    modality: tuple[str, ...] = ()
    """ct or mr, where no file declares it; PATTERN=ct for files that match (e.g. 'ct_*=ct')."""
    labels: tuple[str, ...] = ()
    """Names of label values where no file names them: 1=cord; PATTERN:1=cord for the files that
    match (e.g. '*gmseg*:1=grey_matter')."""
    channel: tuple[str, ...] = ()
    """Which channel of images that hold several, as (x, y, z, channel) or as files of their own
    (nnU-Net, the T1w and T2w of BIDS): NAME where the data set declares names, or NUMBER from 0;
    PATTERN=NAME for files that match. Of several given each makes a volume of the same patient."""
    rescale: tuple[str, ...] = ()
    """SLOPE,INTERCEPT that turn a CT's numbers to HU (SLOPE x value + INTERCEPT), for files in
    other units: 1,-1024 where 1024 was added; PATTERN=SLOPE,INTERCEPT for files that match. A CT of
    which the window of -160 to 240 HU shows nothing is refused."""
    fill_nan: Literal["refuse"] | float = "refuse"
    """Value for voxels that are NaN or Inf; refuse: they stop the preparation."""
    skip_bad: bool = False
    """Leave unusable cases out and list them, instead of stopping."""
    keep_unlabelled: bool = False
    """Keep scans that have no label, for mlb-seg to learn from: beside labelled ones, in imagesTs/
    of Decathlon and nnU-Net, or all of a folder that holds images alone."""


@options
class Naming:
    """Which files and which patients belong together."""

    pairs: tuple[str, ...] = ()
    """Two patterns, of an image's name and of its label's, for names that no layout has:
    image_{id} label_{id}; with folders scans/{id} masks/{id}_seg. {id} is the case, of several {id}
    that differ the first is the patient; * is anything."""
    pair_suffix: str = ""
    """What a label's name adds to its image's name, if it is not _seg, _label, _mask or the like;
    for BIDS the kind of label, where there are several: _desc-manual_dseg."""
    patient_pattern: str = ""
    """Regular expression whose first group, found in a case's name, is the patient; without it
    NAME_frame01 and NAME_frame02 are one patient, as are the sessions of a BIDS subject, and every
    other case is one of its own. A group named person, as in '(?P<person>sub-[0-9]+)', is the same
    person in every data set."""
    same_patients: tuple[str, ...] = ()
    """Data sets (folders' names) whose ids name the same people, as the T1 and T2 folders of one
    study: an id is then one patient, called as in the first of them, also where that is prepared
    elsewhere."""


@options
class Arguments(Reading, Naming):
    """Turn folders of NIfTI volumes with labels into slice shards."""

    _: KW_ONLY
    input: tuple[Path, ...]
    """Folders of one data set each: dataset.json (Medical Decathlon, nnU-Net v2), BIDS with labels
    in derivatives/ (of several pipelines give the folder of one), a folder a patient with an image
    and a mask of each structure (ct.nii.gz with segmentations/liver.nii.gz: TotalSegmentator),
    images/ with labels/, NAME.nii.gz beside NAME_seg.nii.gz, or names that pair in one way only
    (image_21, label_21). Files of other formats are named, with what converts them."""
    output: Place
    """Where the shards go: a folder, or gs://BUCKET/FOLDER (with pip install gcsfs)."""
    size: int = 128
    """Default side, in pixels, of the square that slices are resized to when loaded; not stored."""
    spacing: float = 0.0
    """Default mm of a pixel when loaded (then cropped or padded); 0: each slice is stretched."""
    axis: Literal["acquired", "axial", "coronal", "sagittal"] = "acquired"
    """Which slices are cut. acquired: those that each volume was acquired in, told by the axis
    whose spacing differs from the two others' (axial where all agree); else those of one anatomical
    plane."""
    supervoxels: int = 0
    """Also cut each volume into about so many pieces that look alike, for --tasks.kind
    supervoxels."""
    workers: int = 0
    """Processes, each with one volume in memory; 0: one per core."""


def main() -> None:
    """Parse, prepare, tell."""
    args = arguments(parse_words(Arguments, __doc__))
    folders, output = args.pop("input"), args.pop("output")
    with following("preparing", "volume", 0) as further:  # the files are counted first

        def progress(done: int, total: int) -> None:
            further(done, total=total)

        summary = prepare(folders, output, progress=progress, **args)
    tell(summary, output)


def arguments(args: Arguments) -> dict[str, Any]:
    """Give what `prepare` is called with: None where the user chose nothing."""
    chosen = dict(vars(args))
    if len(args.pairs) not in (0, 2):
        raise BadInput(f"--pairs {' '.join(args.pairs)}: two patterns, an image's and a label's")
    if args.spacing < 0 or args.workers < 0:
        raise BadInput(f"--spacing {args.spacing:g}, --workers {args.workers}: must be at least 0")
    named = ("pairs", "pair_suffix", "patient_pattern", "spacing", "workers")
    chosen |= {name: chosen[name] or None for name in named}
    return chosen | {"fill_nan": None if args.fill_nan == "refuse" else args.fill_nan}


def tell(summary: Summary, output: Place) -> None:
    """Print what there is now, and what was left out and why."""
    for dataset, counts in summary.datasets.items():
        print(
            f"{dataset}: {amount(counts.patients, 'patient')}, {amount(counts.volumes, 'volume')}, "
            f"{amount(counts.slices, 'slice')}; volumes with each structure:"
        )
        print("  " + ", ".join(f"{name} {number}" for name, number in counts.structures.items()))
        print(f"  {spelled(counts.cut)}")
        nameless = [name for name in counts.structures if re.fullmatch(r"\w+_label_\d+", name)]
        if nameless:
            value = nameless[0].rpartition("_")[2]
            print(
                f"  {nameless[0]} and its like have no names: --labels {value}=NAME gives them some"
            )
    for note in summary.notes:
        print(f"note: {spelled(note)}")
    for case, why in summary.skipped:
        print(f"skipped: {case}: {spelled(why)}")
    total = sum(counts.volumes for counts in summary.datasets.values())
    print(
        f"{amount(total, 'volume')} in {output}, {summary.reused} of them done before; "
        f"{len(summary.skipped)} skipped"
    )
