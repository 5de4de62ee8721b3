"""Initial labels: who says, before MLB-Seg learns from them, where an organ lies in the scans that
nobody labelled."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float

from jaxmeta.atlas import segment as segment_by_atlas
from jaxmeta.data.grid import restore, shown_frame, sliced_shape
from jaxmeta.data.initial_labels import (
    ATLAS,
    FIRST_STAGE,
    FOLDER,
    TABLE,
    open_initial_labels,
    write_initial_labels,
)
from jaxmeta.data.names import slug
from jaxmeta.data.orientation import frame_to_text, frames_from_text
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.shards import Shards, Volume, holders, shown_in, structures
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.fitting import segmenter_maker
from jaxmeta.evaluation.protocol import Conditions
from jaxmeta.evaluation.scoring import support_set_keys, whole_volume
from jaxmeta.evaluation.segmenter import together
from jaxmeta.evaluation.settings import method_setting
from jaxmeta.evaluation.trial import atlas_of, places, places_for, support_of
from jaxmeta.methods import method_of
from jaxmeta.methods.options import Tasks
from jaxmeta.progress import following
from jaxmeta.runs.build import open_data
from jaxmeta.runs.config import Config
from jaxmeta.runs.provenance import held_out
from jaxmeta.runs.released import refuse_predicting
from jaxmeta.runs.run import open_run, refuse_begun
from jaxmeta.runs.setup import divide, resolved
from jaxmeta.runs.signature import signed
from jaxmeta.splits.pool import unlabelled_scans
from jaxmeta.splits.split import Split
from jaxmeta.tasks.episodes import Slice


class Labeller(NamedTuple):
    """Who gives labels."""

    give: Callable[[int], Float[np.ndarray, "N H W"]]  # number of a scan -> on its own grid
    made_by: str  # a fingerprint


def label(config: Config) -> None:
    """Write the initial labels of the unlabelled into the run's folder, if they are not there.

    Raises BadInput where they are of somebody else, and for who may not give them.
    """
    shards = open_data(config)
    config = resolved(config, shards)
    division, folder = divide(config, shards), config.workdir / FOLDER
    scans = unlabelled_scans(shards, division)
    give, made_by = labeller(config, shards, division)
    if (folder / TABLE).exists():
        known = [shards.volumes[n].name for n in scans]
        open_initial_labels(folder, shards, config.organ, known, made_by)
        return
    if jax.process_index():
        return

    def found() -> Iterator[tuple[Volume, Float[np.ndarray, "N H W"]]]:
        with following("initial labels", "scan", len(scans)) as further:
            for number in scans:
                yield shards.volumes[number], give(number)
                further(more=1, note=shards.volumes[number].name)

    folder.mkdir(parents=True, exist_ok=True)
    write_initial_labels(folder, config.organ, made_by, found())


def refuse_unlabellable(config: Config) -> None:
    """Refuse before anything is trained what could not be labelled after it."""
    shards = open_data(config)
    config = resolved(config, shards)
    if not unlabelled_scans(shards, divide(config, shards)):
        raise BadInput("nobody is unlabelled: `unlabelled` names some, or train supervised")
    by = config.method.initial_labels
    if not (by in (FIRST_STAGE, ATLAS) or Path(by).is_dir() or slug(by) in structures(shards)):
        raise BadInput(
            f"`method.initial_labels={by}`: neither a run's folder nor a structure of the shards, "
            f"which have {', '.join(structures(shards))}"
        )


def labeller(config: Config, shards: Shards, division: Split) -> Labeller:
    """Find who gives the labels."""
    by = config.method.initial_labels
    labelled = labelled_slices(shards, config.organ, division.labelled)
    if by == FIRST_STAGE:
        return by_run(config, shards, division, config.origin, labelled)
    if by == ATLAS:
        return by_atlas(config, shards, labelled)
    if Path(by).is_dir():
        return by_run(config, shards, division, Path(by), labelled)
    return by_structure(shards, slug(by), config.organ)


def fingerprint_of(texts: Sequence[str]) -> str:
    """Shorten texts to a few characters that others would not have."""
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def labelled_slices(shards: Shards, organ: str, patients: Sequence[str]) -> list[Slice]:
    """List the slices of the labelled that show the organ."""
    known = holders(shards, organ)
    return [(scan, int(n)) for name in patients for scan, slices in known[name] for n in slices]


def by_run(
    config: Config, shards: Shards, division: Split, folder: Path, labelled: Sequence[Slice]
) -> Labeller:
    """Let a run give them: as it is, or, of a few-shot run, adapted to the labelled slices."""
    run = open_run(folder)
    refuse_begun(run.provenance, division, config)
    refuse_predicting(folder, run.config)
    method, tasks = method_of(run.config.method), run.config.tasks
    if method.pointed_at or method.chunks:
        raise BadInput(
            f"{folder} is of {method.name}, which segments what is pointed at, or neighbors of a "
            "labelled slice: it labels no whole scan"
        )
    as_learned = shown_in(shards, frames_from_text(run.config.frames))
    if frames(as_learned, division) != frames(shards, division):
        raise BadInput(
            f"{folder} learned from slices that lie otherwise than those of these shards: prepare "
            "them with the `axis` that its own had"
        )
    if method.by_labels and run.config.organ != config.organ:
        raise BadInput(f"{folder} has learned {run.config.organ}, not {config.organ}")
    keys, support, setting = support_set_keys(1, config.seed), None, None
    if method.needs_support:
        few = method.testing.few or len(labelled)
        chosen = [labelled[(2 * n + 1) * len(labelled) // (2 * few)] for n in range(few)]
        read = support_of(shards, config.organ, chosen, division.labelled, **read_as(tasks))
        support = together([read])
        setting = method_setting(run, len(chosen), Conditions()).finetune
    row = segmenter_maker(run, 1)("adapted", "adapted", setting)
    fitted = row.fit(support, keys)

    answer = lambda image: whole_volume(row, fitted, image)[0]
    give = partial(native, shards, tasks, answer)
    return Labeller(give, f"{signed(folder)}, step {run.step}")


def frames(shards: Shards, division: Split) -> list[str]:
    """Say how the slices of the training patients are shown."""
    names = set(division.train_patients)
    scans = (volume for volume in shards.volumes if volume.patient in names)
    return [frame_to_text(shown_frame(scan.grid)) for scan in scans]


def by_atlas(config: Config, shards: Shards, labelled: Sequence[Slice]) -> Labeller:
    """Let the labelled slices give them by place and intensity."""
    patients = sorted({shards.volumes[scan].patient for scan, _ in labelled})
    how = read_as(config.tasks)
    atlas = atlas_of(support_of(shards, config.organ, labelled, tuple(patients), **how))

    def answer(image):
        return segment_by_atlas(atlas, image[..., 0], places_for(atlas, places(len(image))))

    scans = {shards.volumes[scan].name: shards.volumes[scan] for scan, _ in labelled}.values()
    prints = sorted(f"{v.fingerprint} {v.mask_digests.get(config.organ, '')}" for v in scans)
    give = partial(native, shards, config.tasks, answer)
    return Labeller(give, f"atlas {fingerprint_of(prints)}")


def by_structure(shards: Shards, structure: str, organ: str) -> Labeller:
    """Take a structure of the shards for them, where a scan has it.

    Raises BadInput for the organ itself, by any name: its labels are not given.
    """
    if structure in held_out(shards, [organ], []).organs:
        raise BadInput(
            f"`method.initial_labels={structure}`: that is {organ} itself, whose labels in the "
            "unlabelled are not given"
        )

    def give(number: int):
        row = shards.volumes[number]
        if structure not in row.counts:
            raise BadInput(f"{row.name} has no {structure} to take for initial labels")
        slices = range(sliced_shape(row.grid)[0])
        return (load_masks(shards, number, slices, structure) > 0).astype(np.float32)

    digests = sorted(v.mask_digests.get(structure, "") for v in shards.volumes)
    return Labeller(give, f"structure {structure} {fingerprint_of(digests)}")


def read_as(tasks: Tasks) -> dict[str, Any]:
    """Say how a support's slices are read."""
    return dict(size=tasks.size, mm=tasks.mm)


def native(
    shards: Shards, tasks: Tasks, answer: Callable, number: int
) -> Float[np.ndarray, "N H W"]:
    """Ask about all slices of a scan, and bring the answer back to its own grid."""
    grid = shards.volumes[number].grid
    slices = range(sliced_shape(grid)[0])
    image = load_images(shards, number, slices, size=tasks.size, spacing=tasks.mm)
    return restore(np.asarray(answer(image)), grid, spacing=tasks.mm)
