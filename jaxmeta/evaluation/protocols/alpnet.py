"""What a protocol of the literature asks about one organ: a slice for each chunk, and the scans of
a fold."""

from functools import partial

from jaxmeta.errors import BadInput
from jaxmeta.evaluation.trial import Trial, query, support_of
from jaxmeta.splits.alpnet import Protocol, members, support_slices
from jaxmeta.splits.split import Pool


def trials_of_protocol(
    pool: Pool,
    protocol: Protocol,
    *,
    size: int,
    mm: float | None = None,
    largest_component: bool = False,
) -> tuple[Trial, ...]:
    """Make a trial of every tested organ of the pool: one support a chunk, of one slice of the
    support patient.

    Last come volumes whose labels show none of the organ, which only a score without oracle asks.

    Raises BadInput where the fold's support patient or all of its patients lack the organ.
    """
    queries, support_patient = members(protocol)
    trials = []
    for entry in pool.entries:
        if support_patient not in entry.patients:
            raise BadInput(
                f"fold {protocol.fold}: {support_patient}, the support patient, has no "
                f"{entry.organ}; "
                "leave the organ out, or take another fold"
            )
        having = [name for name in queries if name in entry.patients]
        if not having:
            raise BadInput(f"fold {protocol.fold} has no case of {entry.organ}; take another fold")
        volume, slices = entry.patients[support_patient][0]
        chosen = [(volume, n) for n in support_slices(slices, protocol.positions)]
        supports = [
            support_of(pool.shards, entry.organ, [at], (support_patient,), size=size, mm=mm)
            for at in chosen
        ]
        read = partial(query, pool.shards, size=size, mm=mm, largest_component=largest_component)
        asked = tuple(
            partial(read, number, entry.organ)
            for name in having
            for number, _ in entry.patients[name]
        )
        bare = [n for n in entry.bare if pool.shards.volumes[n].patient in queries]
        asked += tuple(partial(read, number, entry.organ) for number in bare)
        trials.append(Trial(entry.organ, entry.dataset, entry, tuple(supports), asked))
    return tuple(trials)
