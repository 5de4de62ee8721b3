"""What the code released with MetaMedSeg asks: slices of the same patients as the support's, one by
one.

All slices of an organ, whoever they are of, are divided at random into those that may be support
and a fifth that is tested (arXiv 2109.09734, released code). Neighbors of a tested slice are then
in the support, so scores are better than any new patient's would be: a leak, for comparison with
that code only."""

from collections.abc import Iterator, Sequence
from functools import partial

import numpy as np

from jaxmeta.data.grid import spacing
from jaxmeta.data.names import amount
from jaxmeta.data.postprocess import predicted_mask
from jaxmeta.data.shards.load import load_images, load_masks
from jaxmeta.data.shards.shards import Shards
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.protocol import Description, Protocol, Request
from jaxmeta.evaluation.scoring import Score, score_volumes
from jaxmeta.evaluation.segmenter import Segmenter
from jaxmeta.evaluation.supports import entry_number
from jaxmeta.evaluation.trial import Query, Support, Trial, support_of
from jaxmeta.methods.sources import eligible
from jaxmeta.splits.pool import Entry, Pool
from jaxmeta.tasks.episodes import Slice, labelled, random_stream, shuffled

SEEDS = (1, 6, 25, 55, 1100)  # of the five support sets of 15 slices in the paper's fine-tuning
# Share of the slices that is tested, and of the others that only validates.
TESTED, WATCHED = 0.2, 0.1
SPLIT_SEED = 6  # seed of the division
SUPPORT_SLICES = ("slices of the tested patients",)


def trials(pool: Pool, request: Request) -> tuple[Trial, ...]:
    """Make a trial of every entry, each tested slice a query of its own.

    Set s has the s-th of the paper's seeds. Raises BadInput for more shots than slices may be
    support, for more sets than there are seeds, and of a run that was not trained so.
    """
    if not request.shared_patients:
        raise BadInput(
            "`protocol=shared-patients`: a run is trained so (`jaxmeta train` "
            "`allow_leak=shared-patients`)"
        )
    support_sets = request.support_sets or len(SEEDS)
    if support_sets > len(SEEDS):
        raise BadInput(
            f"{support_sets} support sets of slices: the released code has {len(SEEDS)} seeds"
        )
    shards = pool.shards
    return tuple(
        trial_of(
            shards,
            entry,
            tuple(
                sample_slices(shards, entry, request.shots, seed, **request.read)
                for seed in SEEDS[:support_sets]
            ),
            request,
        )
        for entry in eligible(request.tasks, pool).entries
    )


def trials_of_every_slice(pool: Pool, request: Request) -> tuple[Trial, ...]:
    """Make a trial of every entry in which every slice that may be support does."""
    return tuple(
        trial_of(
            pool.shards,
            entry,
            (
                support_of(
                    pool.shards, entry.organ, divided(entry)[0], SUPPORT_SLICES, **request.read
                ),
            ),
            request,
        )
        for entry in eligible(request.tasks, pool).entries
    )


def trial_of(
    shards: Shards, entry: Entry, supports: tuple[Support, ...], request: Request
) -> Trial:
    """Ask about each tested slice of an entry."""
    queries = tuple(
        partial(one_slice, shards, entry.organ, at, **request.read) for at in divided(entry)[1]
    )
    return Trial(entry.organ, entry.dataset, entry, supports, queries)


def divided(entry: Entry) -> tuple[list[Slice], list[Slice]]:
    """Divide an organ's slices into those that give and those that are tested, patients aside."""
    every = [at for name in sorted(entry.patients) for at in labelled(entry, name)]
    if len(every) < 2:
        raise BadInput(
            f"{entry.organ} of {entry.dataset} has one slice: none is left to be support"
        )
    mixed = shuffled(random_stream(SPLIT_SEED, entry_number(entry)), every)
    tested = max(1, round(TESTED * len(mixed)))
    watched = round(WATCHED * (len(mixed) - tested))
    return sorted(mixed[tested + watched :]), sorted(mixed[:tested])


def sample_slices(
    shards: Shards, entry: Entry, shots: int, seed: int, *, size: int, mm: float | None
) -> Support:
    """Sample a support from the support slices."""
    support_slices = divided(entry)[0]
    if shots > len(support_slices):
        raise BadInput(
            f"{shots} shots of {entry.organ}: {len(support_slices)} slices may be support"
        )
    chosen: Sequence[Slice] = shuffled(random_stream(seed, entry_number(entry)), support_slices)[
        :shots
    ]
    return support_of(shards, entry.organ, chosen, SUPPORT_SLICES, size=size, mm=mm)


def one_slice(shards: Shards, organ: str, at: Slice, *, size: int, mm: float | None) -> Query:
    """Read one slice as a volume of its own."""
    volume, number = at
    row = shards.volumes[volume]
    return Query(
        f"{row.name}:{number}",
        row.patient,
        load_images(shards, volume, [number], size=size, spacing=mm),
        load_masks(shards, volume, [number], organ) > 0,
        partial(predicted_mask, grid=row.grid, spacing=mm),
        volume,
        spacing(row.grid),
        number,
    )


def score_slices(
    segmenters: Sequence[Segmenter], trial: Trial, **how
) -> Iterator[tuple[Score, Query, np.ndarray]]:
    """Score slices as volumes of one; a slice alone has no height, so what goes by it is left
    out."""
    return score_volumes([each for each in segmenters if not each.by_height], trial, **how)


def describe(pool: Pool, trials: Sequence[Trial], request: Request, distances: str) -> Description:
    """Say that the slices asked about are of the patients who give."""
    return Description(
        f"{amount(request.shots, 'slice')} of the tested patients as support, "
        f"{len(trials[0].supports)} supports an organ",
        "other slices of the same patients, one by one, original resolution; " + distances,
    )


FIXED = ("support_patients", "largest_component")
ABOUT = "slices of the support patients too, of a run that was trained so (a leak)"
PROTOCOL = Protocol("shared-patients", ABOUT, FIXED, trials, score_slices, describe)
EVERY_SLICE = PROTOCOL._replace(trials=trials_of_every_slice, score=score_volumes)
