"""What the code released with MetaMedSeg asks: slices of the same patients as the support's, one by
one.

All slices of an organ, whoever they are of, are divided at random into those that may be support
and a fifth that is tested (arXiv 2109.09734, released code). Neighbors of a tested slice are then
in the support, so scores are better than any new patient's would be: a leak, for comparison with
that code only."""

from collections.abc import Sequence
from functools import partial

from jaxmeta.data.grid import spacing
from jaxmeta.data.postprocess import predicted_mask
from jaxmeta.data.shards.shards import Shards, load_images, load_masks
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.supports import identity
from jaxmeta.evaluation.trial import Query, Support, Trial, support_of
from jaxmeta.splits.split import Entry, Pool
from jaxmeta.tasks.episodes import Slice, labelled, random_stream, shuffled

SEEDS = (1, 6, 25, 55, 1100)  # of the five draws of 15 slices in the paper's fine-tuning
# Share of the slices that is tested, and of the others that only validates.
TESTED, WATCHED = 0.2, 0.1
SPLIT = 6  # seed of the division
SUPPORT_SLICES = ("slices of the tested patients",)


def trials_of_slices(
    pool: Pool, *, shots: int, support_sets: int, size: int, mm: float | None = None
) -> tuple[Trial, ...]:
    """Make a trial of every entry, each tested slice a query of its own.

    Draw d has the d-th of the paper's seeds. Raises BadInput for more shots than slices may be
    support, and for more draws than there are seeds."""
    if support_sets > len(SEEDS):
        raise BadInput(f"{support_sets} draws of slices: the released code has {len(SEEDS)} seeds")
    return tuple(
        Trial(
            entry.organ,
            entry.dataset,
            entry,
            tuple(
                draw_support(pool.shards, entry, shots, seed, size=size, mm=mm)
                for seed in SEEDS[:support_sets]
            ),
            tuple(
                partial(one_slice, pool.shards, entry.organ, at, size=size, mm=mm)
                for at in divided(entry)[1]
            ),
        )
        for entry in pool.entries
    )


def trial_of_every_slice(pool: Pool, entry: Entry, *, size: int, mm: float | None = None) -> Trial:
    """Make the trial of an entry in which every slice that may be support does."""
    support_slices, tested = divided(entry)
    read = {"size": size, "mm": mm}
    return Trial(
        entry.organ,
        entry.dataset,
        entry,
        (support_of(pool.shards, entry.organ, support_slices, SUPPORT_SLICES, **read),),
        tuple(partial(one_slice, pool.shards, entry.organ, at, **read) for at in tested),
    )


def divided(entry: Entry) -> tuple[list[Slice], list[Slice]]:
    """Divide an organ's slices into those that give and those that are tested, patients aside."""
    every = [at for name in sorted(entry.patients) for at in labelled(entry, name)]
    if len(every) < 2:
        raise BadInput(
            f"{entry.organ} of {entry.dataset} has one slice: none is left to be support"
        )
    mixed = shuffled(random_stream(SPLIT, identity(entry)), every)
    tested = max(1, round(TESTED * len(mixed)))
    watched = round(WATCHED * (len(mixed) - tested))
    return sorted(mixed[tested + watched :]), sorted(mixed[:tested])


def draw_support(
    shards: Shards, entry: Entry, shots: int, seed: int, *, size: int, mm: float | None
) -> Support:
    """Draw a support from the support slices."""
    support_slices = divided(entry)[0]
    if shots > len(support_slices):
        raise BadInput(
            f"{shots} shots of {entry.organ}: {len(support_slices)} slices may be support"
        )
    chosen: Sequence[Slice] = shuffled(random_stream(seed, identity(entry)), support_slices)[:shots]
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
