"""Whole volumes of held-out patients, asked of learners that are given no support at all.

What is asked is what `few_shot.py` asks, and what counts is the same; only nobody gives labels when
a run is tested, for it has learned the organ already. `IN_FOLDS` asks it of what learns now, from
every label of everybody else: the upper bound of few-shot segmentation by the same network.
"""

from collections.abc import Sequence

import numpy as np

from jaxmeta.data.shards.shards import Volume, holders
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.protocol import Description, Protocol, Request
from jaxmeta.evaluation.protocols.few_shot import LARGEST, WHOLE
from jaxmeta.evaluation.scoring import score_volumes
from jaxmeta.evaluation.supports import entry_number
from jaxmeta.evaluation.trial import Support, Trial, whole_volumes
from jaxmeta.splits.pool import Entry, Pool
from jaxmeta.tasks.episodes import load_examples, random_stream, shuffled

FOLDS = 4  # of the test patients, for the upper bound


def trials(pool: Pool, request: Request) -> tuple[Trial, ...]:
    """Make a trial of every entry: all volumes of all its patients, and no support.

    Raises BadInput of a method that has nothing to segment by before it is given a support.
    """
    if request.method.needs_support:
        raise BadInput(
            f"`protocol=supervised`: {request.method.name} learns an organ from its support; "
            "`upper_bound` tells what its network makes of all labels"
        )
    return tuple(whole(pool, entry, request) for entry in pool.entries)


def whole(pool: Pool, entry: Entry, request: Request) -> Trial:
    """Ask about every volume of every patient of an entry."""
    kept = request.conditions.largest_component
    queries = whole_volumes(pool, entry, largest_component=kept, **request.read)
    return Trial(entry.organ, entry.dataset, entry, (), queries[: request.most])


def trials_in_folds(pool: Pool, request: Request) -> tuple[Trial, ...]:
    """Make the same trials for what is trained now: each fold of patients by all labels of all
    others, so that everybody is asked about once."""
    return tuple(
        whole(pool, entry, request)._replace(
            supports=every_label(pool, entry, folds=FOLDS, seed=request.seed, **request.read),
            answers=folds_of(pool, entry, folds=FOLDS, seed=request.seed),
        )
        for entry in pool.entries
    )


def describe(pool: Pool, trials: Sequence[Trial], request: Request, distances: str) -> Description:
    """Say that nobody gives labels to the test."""
    kept = LARGEST if request.conditions.largest_component else ""
    return Description("no support: labels in training alone", f"{WHOLE}{kept}; {distances}")


def every_label(
    pool: Pool, entry: Entry, *, folds: int, size: int, mm: float | None = None, seed: int = 0
) -> tuple[Support, ...]:
    """Make the supports of an upper bound: all slices of all the organ's patients but one fold's.

    The patients under test are dealt into folds; fold f's support is every slice, with the organ or
    without, of every other patient who has it in this data set, those of the training side
    included. So every patient can be scored exactly once, by a network that never saw them: whose
    fold they are in (`folds_of`) says which.
    """
    dealt = folds_of(pool, entry, folds=folds, seed=seed)
    volumes = pool.shards.volumes
    scans = {
        name: [v for v, _ in held if like(volumes[v], entry)]
        for name, held in holders(pool.shards, entry.organ).items()
    }
    scans = {name: held for name, held in scans.items() if held}
    supports = []
    for fold in range(max(dealt.values()) + 1):
        patients = tuple(name for name in scans if dealt.get(name) != fold)
        slices = [
            (v, n)
            for name in patients
            for v in scans[name]
            for n in range(len(volumes[v].counts[entry.organ]))
        ]
        supports.append((patients, slices))
    length = max(len(slices) for _, slices in supports)
    return tuple(
        Support(
            load_examples(pool.shards, entry.organ, slices, length, size=size, spacing=mm),
            np.full(length, np.inf, np.float32),
            patients,
            (f"all {len(slices)} slices of {len(patients)} patients",),
        )
        for patients, slices in supports
    )


def folds_of(pool: Pool, entry: Entry, *, folds: int, seed: int = 0) -> dict[str, int]:
    """Deal all patients who are asked about into the folds of an upper bound: name -> fold.

    Those without the organ come last: no network learned from them, and one alone is asked about
    each.
    """
    stream = random_stream(seed, entry_number(entry), 2**31)
    names = shuffled(stream, sorted(entry.patients))
    if len(names) < 2:
        raise BadInput(f"an upper bound for {entry.organ} needs 2 patients, there is {len(names)}")
    bare = {pool.shards.volumes[volume].patient for volume in entry.bare} - entry.patients.keys()
    everybody = [*names, *shuffled(stream, sorted(bare))]
    return {name: at % min(folds, len(names)) for at, name in enumerate(everybody)}


def like(volume: Volume, entry: Entry) -> bool:
    """Say whether a volume is of the kind that an entry is made of."""
    own = volume.dataset, volume.modality, volume.channel
    return own == (entry.dataset, entry.modality, entry.channel)


FIXED = ("shots", "support_patients", "support_sets", "baselines", "steps", "upper_bound")
FIXED += ("tune", "only_tune", "tuned_on", "transfer")
ABOUT = "whole volumes of held-out patients, of a method that is given no support"
PROTOCOL = Protocol(
    "supervised", ABOUT, FIXED, trials, score_volumes, describe, folder="supervised"
)
IN_FOLDS = PROTOCOL._replace(trials=trials_in_folds)
