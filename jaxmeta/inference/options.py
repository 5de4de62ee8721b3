"""What `predict` is asked: the options of the command, and what of them goes together."""

from pathlib import Path
from typing import Literal

from jaxmeta.errors import BadInput
from jaxmeta.inference.support import parsed
from jaxmeta.options import options


@options
class Options:
    """Segment structures in one's own volumes."""

    image: tuple[Path, ...]
    """Volumes to segment."""
    output: Path
    """Folder for the masks, each named like its image."""
    run: Literal["none"] | Path = "none"
    """The folder of a run that is adapted to the support, or that learned its organ from labelled
    patients and needs none; none: nothing was trained, the support's own places and intensities say
    where it is. To point, a run of sam-tiny or a folder that convert_sam wrote."""
    support: tuple[str, ...] = ()
    """Labelled volumes, as IMAGE:LABEL or IMAGE:LABEL:VALUE; without VALUE every label above 0."""
    structures: tuple[int, ...] = ()
    """Values of the support's labels that are a structure each: one mask holds them all, each voxel
    the value of the most probable."""
    box: tuple[str, ...] = ()
    """X,Y,Z,X,Y,Z: opposite corners of a box around a structure, in voxels of the file's array from
    0; it is segmented in each slice that the box crosses. VALUE:X,Y,Z,X,Y,Z says which value it has
    in the mask, so that one mask may hold several."""
    click: tuple[str, ...] = ()
    """X,Y,Z or VALUE:X,Y,Z: a voxel of a structure; its slice is segmented."""
    click_outside: tuple[str, ...] = ()
    """X,Y,Z or VALUE:X,Y,Z: a voxel beside the structure, for a slice that has a box or a click of
    it."""
    shots: int = 0
    """Labelled slices to go by, evenly spaced among those that hold the structure; 0: all of them
    (ssm-sam: 5, for it answers once for each)."""
    support_sets: int = 1
    """Go by so many draws of `shots` slices, and average what they give: the first is evenly
    spaced, the others are random."""
    probabilities: bool = False
    """Also save the probability of each structure, as NAME_prob_VALUE.nii.gz."""
    modality: Literal["auto", "ct", "mr"] = "auto"
    """What the volumes are; auto: what the run learned from, and needed where those are both;
    without a run CT where the support has air in HU, else MR."""
    axis: Literal["auto", "acquired", "axial", "coronal", "sagittal"] = "auto"
    """Which slices are cut: those that each volume was acquired in, or those of one plane; auto: as
    those that the run learned from; without a run acquired."""
    channel: str = "auto"
    """Which channel of volumes that hold several, as (x, y, z, channel): NAME where a dataset.json
    beside declares names, or NUMBER from 0; auto: the one that the run learned from."""
    fill_nan: Literal["refuse"] | float = "refuse"
    """Value for voxels that are NaN or Inf; refuse: a volume with any is not read."""
    rescale: tuple[str, ...] = ()
    """SLOPE,INTERCEPT that turn a CT's numbers to HU, for files in other units (1,-1024 where 1024
    was added); PATTERN=SLOPE,INTERCEPT for files that match."""
    largest_component: bool = False
    """Keep the largest connected component of each mask: for a structure that is one body."""
    seed: int = 0
    """Of the adaptation, where the method draws anything."""


def check(options: Options) -> None:
    """Refuse what does not go together."""
    pointing = pointed(options)
    if options.support and pointing:
        raise BadInput(
            "give `support`, or `box` and `click`: labelled slices, or a structure pointed at"
        )
    if options.run == "none" and not (options.support or pointing):
        raise BadInput(
            "give `support`, labelled slices; or a `run` that has learned an organ from labelled "
            "patients, or that is pointed at by `box` and `click`"
        )
    if pointing and len(options.image) > 1:
        raise BadInput("`box` and `click` point into one volume: give one `image`")
    if pointing and options.run == "none":
        raise BadInput("`box` and `click` need a `run`: of sam-tiny, or converted weights")
    usual = Options(image=(), output=options.output)
    for name in () if options.support else ("structures", "shots", "support_sets"):
        if getattr(options, name) != getattr(usual, name):
            raise BadInput(f"`{name}`: it is for `support`")
    if options.support_sets < 1:
        raise BadInput(f"`support_sets={options.support_sets}`: must be at least 1")
    if options.support_sets > 1 and not options.shots:
        raise BadInput("`support_sets` needs `shots`: draws of all slices are all the same")
    if len(set(options.structures)) < len(options.structures) or 0 in options.structures:
        raise BadInput(
            f"`structures={' '.join(map(str, options.structures))}`: each once, and never 0"
        )
    if options.structures and any(parsed(text)[2] is not None for text in options.support):
        raise BadInput("`structures` with `support=IMAGE:LABEL:VALUE`: leave VALUE out")


def pointed(options: Options) -> tuple[str, ...]:
    """List what is told to point at a structure."""
    return options.box + options.click + options.click_outside


def told_reading(options: Options) -> dict[str, str | float | tuple[str, ...] | None]:
    """Gather what the command line says of how files are read."""
    names = ("modality", "axis", "channel", "fill_nan", "rescale")
    told = {name: getattr(options, name) for name in names}
    return {name: value for name, value in told.items() if value not in ("auto", "refuse")}
