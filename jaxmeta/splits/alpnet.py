"""Protocols of the literature as values: who trains, who gives the support, which slices count.

The protocol of SSL-ALPNet (Ouyang et al. 2020, arXiv 2007.09886), by which most one-shot papers on
abdominal organs are compared:

- Scans are sorted by number and cut into 5 blocks. A fold holds a block, which is tested, and the
  scan after it (round the end), which gives the support; everybody else trains.
- Some organs are tested and the others trained on. Setting 1: tested organs may appear unlabelled
  in training slices. Setting 2: a slice that holds any of them is not trained on.
- The support are the slices at 1/6, 1/2 and 5/6 of those that hold the organ. The query's slices
  with the organ fall into as many equal chunks, each segmented from its own support slice. Whoever
  cuts chunks of the query knows where its organ begins and ends: an oracle, without which the same
  networks are scored on the whole volume too.

What descendants choose otherwise is in `released.py`. A protocol is printed with a digest of all of
its choices, leaks included.
"""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import numpy as np

from jaxmeta.data.shards.shards import Shards
from jaxmeta.errors import BadInput
from jaxmeta.splits.released import ALPNET_LEGACY
from jaxmeta.splits.split import Split, checked_split, some_of


class AlpnetFold(NamedTuple):
    """A fold of a protocol, with every choice that a score depends on; two scores compare where
    their digests are the same."""

    name: str
    fold: int
    setting: Literal[1, 2]
    tested: tuple[str, ...]
    trained: tuple[str, ...]
    patients: tuple[str, ...]  # all, in the order that is cut
    folds: int = 5
    support_patient: Literal["last", "first"] = "last"
    excluded: Literal["any", "all"] = "any"
    positions: tuple[float, ...] = (1 / 6, 1 / 2, 5 / 6)
    leaks: tuple[str, ...] = ()


VARIANTS = {
    "alpnet": {},
    "alpnet-legacy": ALPNET_LEGACY,
}


def fold_of(
    name: str,
    shards: Shards,
    *,
    tested: Sequence[str],
    trained: Sequence[str],
    fold: int,
    setting: Literal[1, 2],
) -> AlpnetFold:
    """Make a fold over all patients of the shards who have one of the organs.

    Raises BadInput for a fold that there is not, fewer patients than two a fold, and an organ on
    both sides.
    """
    if both := sorted(set(tested) & set(trained)):
        raise BadInput(
            f"organ {both[0]} would be trained on and tested: take it out of one of them"
        )
    if not tested or not trained:
        raise BadInput(f"protocol {name} needs organs to test and others to train on")
    having = {v.patient for v in shards.volumes if any(holds(v, o) for o in (*tested, *trained))}
    made = AlpnetFold(
        name, fold, setting, tuple(tested), tuple(trained), in_order(having), **VARIANTS[name]
    )
    if not 0 <= fold < made.folds:
        raise BadInput(f"`fold={fold}`: protocol {name} has folds 0 to {made.folds - 1}")
    if len(made.patients) < 2 * made.folds:
        raise BadInput(
            f"protocol {name} cuts {made.folds} folds: {len(made.patients)} patients are too few"
        )
    return made


def holds(volume, organ: str) -> bool:
    """Say whether a volume has voxels of an organ."""
    return bool(np.any(volume.counts.get(organ, 0)))


def in_order(patients: Iterable[str]) -> tuple[str, ...]:
    """Sort patients as their scans are numbered: by the numbers in their names, then by name."""
    return tuple(
        sorted(patients, key=lambda name: ([int(n) for n in re.findall(r"\d+", name)], name))
    )


def digest(protocol: AlpnetFold) -> str:
    """Shorten all choices to eight characters."""
    text = json.dumps(protocol._asdict(), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def members(protocol: AlpnetFold) -> tuple[tuple[str, ...], str]:
    """Name a fold's patients under test and the support patient."""
    patients, folds = protocol.patients, protocol.folds
    cuts = [round(i * len(patients) / folds) for i in range(folds + 1)]
    block = list(patients[cuts[protocol.fold] : cuts[protocol.fold + 1]])
    after = patients[cuts[protocol.fold + 1] % len(patients)]
    if protocol.support_patient == "last":
        return tuple(block), after
    first, *others = in_order([*block, after])
    return tuple(others), first


def split_of(protocol: AlpnetFold, shards: Shards) -> Split:
    """Divide organs and patients: neither who is tested nor who gives is ever trained on."""
    queries, support_patient = members(protocol)
    held_out = {*queries, support_patient}
    everybody = sorted({volume.patient for volume in shards.volumes})
    return checked_split(
        Split(
            protocol.trained,
            (),
            protocol.tested,
            tuple(name for name in everybody if name not in held_out),
            tuple(sorted(held_out)),
        )
    )


def hidden_slices(protocol: AlpnetFold, shards: Shards) -> dict[int, frozenset[int]]:
    """List, volume by volume, the slices that Setting 2 keeps from training; none in Setting 1.

    "any" hides a slice that holds any tested organ; "all" one that holds every organ, tested and
    trained.
    """
    if protocol.setting == 1:
        return {}
    every = protocol.excluded == "all"
    organs = (*protocol.tested, *protocol.trained) if every else protocol.tested
    hidden = {}
    for number, volume in enumerate(shards.volumes):
        counts = [volume.counts[organ] for organ in organs if organ in volume.counts]
        if not counts or (every and len(counts) < len(organs)):
            continue
        seen = (np.all if every else np.any)(np.stack(counts) > 0, axis=0)
        if seen.any():
            hidden[number] = frozenset(np.flatnonzero(seen).tolist())
    return hidden


def slices_at(slices: Sequence[int] | np.ndarray, positions: Sequence[float]) -> tuple[int, ...]:
    """Choose the slices at these relative places among those that hold the organ: floor(p n)."""
    return tuple(int(slices[int(p * len(slices))]) for p in positions)


def chunks_of(slices: Sequence[int] | np.ndarray, count: int) -> dict[int, int]:
    """Deal the slices between the organ's first and last into `count` equal chunks, in order.

    A slice between the two without the organ is dealt too, as the literature does.
    """
    low, high = int(min(slices)), int(max(slices))
    stretch = np.arange(low, high + 1)
    return {int(n): int(i * count // len(stretch)) for i, n in enumerate(stretch)}


def left_over(protocol: AlpnetFold, shards: Shards) -> dict[str, tuple[int, int, int]]:
    """Count for each trained organ its training slices, those left by the setting, and patients
    with none.

    With any-of exclusion an organ that lies beside tested ones can lose nearly all of its slices.
    """
    training = set(split_of(protocol, shards).train_patients)
    hidden = hidden_slices(protocol, shards)
    counts = {}
    for organ in protocol.trained:
        whole, left, bare = 0, 0, 0
        for patient, scans in shards.table.get(organ, {}).items():
            if patient not in training:
                continue
            kept = sum(
                len(set(s.tolist()) - hidden.get(volume, frozenset())) for volume, s in scans
            )
            whole += sum(len(s) for _, s in scans)
            left += kept
            bare += not kept
        counts[organ] = whole, left, bare
    return counts


def describe_alpnet(protocol: AlpnetFold, counts: Mapping[str, tuple[int, int, int]]) -> str:
    """Say what a protocol is, and how much it leaves to train on."""
    queries, support_patient = members(protocol)
    text = (
        f"protocol {protocol.name}, fold {protocol.fold} of {protocol.folds}, setting "
        f"{protocol.setting}"
    )
    text += f" [{digest(protocol)}]: tested on {some_of(protocol.tested)} of {some_of(queries)}, "
    text += f"support of {support_patient}"
    for organ, (whole, left, bare) in counts.items():
        text += f"; {organ}: {left} of {whole} training slices"
        text += f", none in {bare} patient(s)" if bare else ""
    return text + (f"; LEAKS {', '.join(protocol.leaks)}" if protocol.leaks else "")
