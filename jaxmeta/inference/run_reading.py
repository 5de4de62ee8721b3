"""Files read as the training data of a run was, and what is told of those unlike it.

A mask of nothing at exit code 0 is what a user finds last. What can be seen before is whether the
voxels are of a kind that the run never learned from, and whether its pixels are of another size.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path

from jaxmeta.data.fingerprint import fingerprint
from jaxmeta.data.grid import Grid, from_slices, pixel
from jaxmeta.data.scan import Scan
from jaxmeta.errors import BadInput
from jaxmeta.inference.notes import AIR, described_reading, lowest, unlike, warn
from jaxmeta.inference.scan import Reading
from jaxmeta.progress import say
from jaxmeta.runs.config import Config
from jaxmeta.runs.provenance import Seen
from jaxmeta.runs.run import Run

SEGMENTED = "what it makes of it says nothing of new scans"
SEEN_SUPPORT = "the run has seen this support scan"


def reading_for(
    run: Run,
    *,
    modality: str | None = None,
    axis: str | None = None,
    channel: str | None = None,
    fill_nan: float | None = None,
    rescale: Sequence[str] = (),
) -> Reading:
    """Read files as the run's training data was read, or as told.

    Raises BadInput where the run learned from both CT and MR, or from no scan, and nothing says
    which it is.
    """
    config, tasks = run.config, run.config.tasks
    modality = modality or config.modality
    if not modality:
        raise BadInput(
            f"{run.folder} learned from no one modality: say `modality=ct` or `modality=mr`"
        )
    channel = channel or config.channel or None  # without: a file of several asks
    axis = axis or config.axis
    frames = config.frames if axis == config.axis else ()
    how = dict(fill_nan=fill_nan, channel=channel, frames=frames, rescale=tuple(rescale))
    return Reading(tasks.size, tasks.mm, axis, modality, **how)


def teller(
    run: Path,
    config: Config,
    reading: Reading,
    *,
    modality: str | None = None,
    seen_as: Callable[[Grid], tuple[float, float]] | None = None,
    known: Mapping[str, str] = {},
    supports: Collection[Path] = (),
) -> Callable[[Path, Scan], None]:
    """Make tell(path, scan): prints each file once, warns, and refuses a CT that is taken for
    MR.

    `modality` is what a user said; `seen_as` gives the mm of the network's pixels where slices are
    not resized to `reading.size`; `known` is what `known_scans` says; of `supports` no mask is
    made.
    """
    told = set()
    pixels = seen_as or (lambda grid: pixel(grid, reading.size, reading.mm))
    if modality and config.modality and modality != config.modality:
        warn(
            f"{run} learned from {config.modality} alone: of what it makes of {modality} nothing "
            "is known"
        )

    def tell(path: Path, scan: Scan) -> None:
        if path in told:
            return
        told.add(path)
        grid = scan.geometry
        if modality is None:
            refuse_hounsfield(run, path, scan, reading)
            if text := without_air(run, scan, reading):
                warn(f"{path}: {text}")
        say(described_reading(path, grid, reading, pixels(grid), config.pixels))
        if config.planes and grid.axis not in config.planes:
            warn(
                f"{path}: its slices are {grid.axis}, and {run} learned from "
                f"{' and '.join(config.planes)} ones"
            )
        if known and (text := known.get(fingerprint(from_slices(scan.values, grid), *scan.scale))):
            say(f"note: {path} {text}: {SEEN_SUPPORT if path in supports else SEGMENTED}")
        if text := unlike(pixels(grid), config.pixels):
            warn(f"{path}: {text}")

    return tell


def known_scans(provenance: Iterable[Seen]) -> dict[str, str]:
    """Say of each scan that a run has seen, by its fingerprint, which it is and how it was seen.

    That is told and not refused: a mask is no score.
    """
    return {
        same: f"is {name}, voxel for voxel, which {seen.by} was {seen.how}"
        for seen in reversed([*provenance])  # of several, what came first: trained before chosen
        for same, name in seen.contents.items()
    }


def refuse_hounsfield(run: Path, path: Path, scan: Scan, reading: Reading) -> None:
    """Refuse a file as MR, because all that the run learned from was, where its voxels are those of
    CT."""
    if reading.modality == "mr" and (least := lowest(scan.values, scan.scale)) <= AIR:
        raise BadInput(
            f"{path}: values down to {least:.0f}, as air has in CT, and {run} learned from MR "
            "alone: give `modality=mr` if it is MR all the same, `modality=ct` to try the run on "
            "CT, or a run that learned from CT"
        )


def without_air(run: Path, scan: Scan, reading: Reading) -> str:
    """Say of a file that is read as CT, because all that the run learned from was, that it may be
    MR.

    Air and fat are below 0 in HU. Refused it is not: a CT that was cut at 0 has no value below,
    either.
    """
    if reading.modality != "ct" or reading.rescale:
        return ""
    return (
        ""
        if lowest(scan.values, scan.scale) < 0
        else (
            "no value is below 0, as in MR and in a CT that was cut at 0; it is read as CT, for "
            f"{run} learned from CT alone: give `modality=ct` if it is CT, or a run that learned "
            "from MR"
        )
    )
