"""The usual question: a few labelled slices of support patients, and whole volumes of everybody
else who has the organ."""

from collections.abc import Sequence

from jaxmeta.data.names import amount
from jaxmeta.evaluation.protocol import Description, Protocol, Request
from jaxmeta.evaluation.scoring import score_volumes
from jaxmeta.evaluation.supports import sample_support, support_patients
from jaxmeta.evaluation.trial import Support, Trial, support_of, whole_volumes
from jaxmeta.splits.pool import Entry, Pool

SUPPORT_SETS = 4  # of an organ, where nothing else is said
WHOLE = "whole volumes, 3-D, original resolution"
LARGEST = ", the largest connected component of each mask"


def trials(pool: Pool, request: Request) -> tuple[Trial, ...]:
    """Make a trial of every entry of the pool.

    Set s takes other support patients than set s - 1 as long as there are any, and its slices
    depend on (seed, organ, s) alone: the first of five slices is the one of one slice.
    """
    support_sets = request.support_sets or SUPPORT_SETS
    return tuple(
        Trial(
            entry.organ,
            entry.dataset,
            entry,
            tuple(support(pool, entry, request, number) for number in range(support_sets)),
            whole_volumes(
                pool,
                entry,
                largest_component=request.conditions.largest_component,
                **request.read,
            )[: request.most],
        )
        for entry in pool.entries
    )


def support(pool: Pool, entry: Entry, request: Request, number: int) -> Support:
    """Sample and read the support set of this number."""
    shots, seed, (size, mm) = request.shots, request.seed, request.read.values()
    patients = support_patients(
        entry, shots=shots, support_set=number, seed=seed, count=request.conditions.patients
    )
    how = dict(shots=shots, size=size, seed=seed, support_set=number, spacing=mm)
    chosen = sample_support(pool, entry, patients, **how)
    return support_of(pool.shards, entry.organ, chosen, patients, size=size, mm=mm)


def describe(pool: Pool, trials: Sequence[Trial], request: Request, distances: str) -> Description:
    """Say how many slices and supports there are, and what is kept of a mask."""
    kept = LARGEST if request.conditions.largest_component else ""
    patients = amount(request.conditions.patients, "patient")
    return Description(
        f"{amount(request.shots, 'slice')} of {patients} as support, "
        f"{len(trials[0].supports)} supports an organ",
        f"{WHOLE}{kept}; {distances}",
    )


ABOUT = "a few labelled slices of support patients, and whole volumes of everybody else"
PROTOCOL = Protocol("few-shot", ABOUT, (), trials, score_volumes, describe)
