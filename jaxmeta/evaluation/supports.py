"""Support sets for testing: which patients give the labels of set s, and which of their slices.

Episodes mix organs and patients to learn from; a test wants to know how the result depends on the
support, so here each set of an organ takes other patients as far as there are any, and other
slices.
"""

import zlib
from collections.abc import Sequence

from jaxmeta.errors import BadInput
from jaxmeta.splits.pool import Entry, Pool, slice_count
from jaxmeta.tasks.episodes import (
    EpisodeShape,
    Slice,
    random_stream,
    refuse_shots,
    round_robin,
    shuffled,
    support_slices,
)

# Pixels along a side at which a structure must show in a support slice, at most: so that
# networks for larger slices are given the same supports, and can be compared.
COMMON = 64


def support_patients(
    entry: Entry, *, shots: int, support_set: int, seed: int, count: int = 1
) -> tuple[str, ...]:
    """Name the `count` patients who give the support set of this number.

    Sets go round the patients in an order that the seed shuffles. Those who together have fewer
    than `shots` slices are passed over, so that a number of shots means what it says.
    """
    names = shuffled(random_stream(seed, entry_number(entry), 0), sorted(entry.patients))
    if len(names) <= count:
        raise BadInput(
            f"organ {entry.organ} of {entry.dataset} has {len(names)} patient(s) to test on: "
            f"{count} for the support leave(s) none to score"
        )
    groups = [
        tuple(names[(start * count + i) % len(names)] for i in range(count))
        for start in range(len(names))
    ]
    sizes = [slice_count({name: entry.patients[name] for name in group}) for group in groups]
    able = [group for group, size in zip(groups, sizes, strict=True) if size >= shots]
    if not able:
        refuse_shots(entry, shots, count, max(sizes))
    return able[support_set % len(able)]


def sample_support(
    pool: Pool,
    entry: Entry,
    patients: Sequence[str],
    *,
    shots: int,
    size: int,
    seed: int,
    support_set: int = 0,
    spacing: float | None = None,
) -> tuple[Slice, ...]:
    """Sample the support slices of these patients, in turn; another set has other slices.

    All sizes from COMMON on sample the same.
    """
    shape = EpisodeShape(shots, 1, min(size, COMMON), spacing)
    rng = random_stream(seed, entry_number(entry), support_set + 1)
    slices_by_patient = [support_slices(rng, pool.shards, entry, name, shape) for name in patients]
    if sum(map(len, slices_by_patient)) < shots:
        refuse_shots(entry, shots, len(patients), sum(map(len, slices_by_patient)))
    return tuple(round_robin(slices_by_patient, shots))


def entry_number(entry: Entry) -> int:
    """Number an entry by its names, so that its support sets do not depend on the rest of the
    pool."""
    names = filter(None, (entry.dataset, entry.organ, entry.modality, entry.channel))
    return zlib.crc32("/".join(names).encode())
