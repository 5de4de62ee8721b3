"""Who is who among prepared volumes: one scan or one structure under two names, one id in two data
sets.

A name is what somebody typed; a fingerprint (`fingerprint.py`) is what the voxels hold. Two volumes
of one fingerprint are one scan, and two structures whose masks cover each other are one organ,
whatever they are called. An id that is in two data sets may be one person or two: nobody but the
user knows, so that is only told.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import combinations, combinations_with_replacement, product
from typing import NamedTuple

import numpy as np

from jaxmeta.data.grid import Grid, from_slices, to_sliced
from jaxmeta.data.placement import agreement, displacement
from jaxmeta.data.shards.load import load_masks
from jaxmeta.data.shards.shards import Shards, Volume

SAME_DICE = 0.9  # Dice of two masks from which two names are one structure
EXAMPLES = 3  # examples in a note

Masks = Mapping[str, Mapping[str, str]]  # fingerprint of a scan -> structure -> digest of its masks


class Alias(NamedTuple):
    """Two names whose masks are all but one."""

    one: str
    other: str
    where: str  # the volume or volumes that show it
    dice: float


def digests(known: Iterable[tuple[str, Mapping[str, str]]], names: Iterable[str]) -> Masks:
    """Gather by the scan what is known of it: the digests of structures of these names."""
    names, found = set(names), {}
    for scan, masks in known:
        if scan and (own := {name: each for name, each in masks.items() if name in names}):
            found[scan] = own | found.get(scan, {})
    return found


def renamed(before: Masks, now: Masks) -> dict[str, str]:
    """Find structures that had other names (before -> now): the same masks in most scans with
    both."""
    same: dict[tuple[str, str], list[bool]] = {}
    for scan in before.keys() & now.keys():
        for (then, one), (name, other) in product(before[scan].items(), now[scan].items()):
            if then != name:
                same.setdefault((then, name), []).append(one == other)
    return {then: name for (then, name), of in sorted(same.items()) if 2 * sum(of) > len(of)}


def same_scans(volumes: Sequence[Volume]) -> list[tuple[Volume, ...]]:
    """List scans that several patients have: the same voxels under two names."""
    found: dict[str, list[Volume]] = {}
    for volume in volumes:
        if volume.fingerprint:
            found.setdefault(volume.fingerprint, []).append(volume)
    return [tuple(own) for own in found.values() if len({volume.patient for volume in own}) > 1]


def same_ids(volumes: Sequence[Volume]) -> dict[tuple[str, str], list[str]]:
    """List the ids that two data sets have, of patients that are not joined: (one, other) ->
    ids."""
    ids: dict[str, set[str]] = {}
    for volume in volumes:
        dataset, slash, own = volume.patient.partition("/")
        if slash and dataset == volume.dataset:
            ids.setdefault(dataset, set()).add(own)
    shared = {(a, b): sorted(ids[a] & ids[b]) for a, b in combinations(sorted(ids), 2)}
    return {pair: both for pair, both in shared.items() if both}


def aliases(
    shards: Shards, ones: Iterable[str] | None = None, others: Iterable[str] | None = None
) -> list[Alias]:
    """Find two names of one structure: masks of a Dice above .9 in most volumes that have both.

    Of one volume that says nothing: the core of a tumor is all of it in some people. Masks of one
    scan are asked first, then those of one patient on one grid, who may have moved meanwhile:
    either will do. Of names among `ones` against names among `others`, if these are given. Each
    pair of names is told once.
    """
    ones, others = (None if names is None else set(names) for names in (ones, others))
    found: dict[tuple[str, str], Alias] = {}
    for pairs in comparable(shards):
        likely: dict[tuple[str, str], list[tuple[int, str, int, str]]] = {}
        for a, b in pairs:
            for first, second in candidates(shards.volumes[a], shards.volumes[b]):
                if ones is None or apart((first, second), ones, others):
                    key = tuple(sorted((first, second)))
                    likely.setdefault(key, []).append((a, first, b, second))
        for key, masks in likely.items():
            alias = (
                None
                if key in found
                else judged(shards, key, masks, comparable_places(shards, key, pairs))
            )
            if alias:
                found[key] = alias
    return list(found.values())


def comparable_places(
    shards: Shards, names: tuple[str, str], pairs: Sequence[tuple[int, int]]
) -> int:
    """Count the places where two structures can be compared."""
    a, b = np.array(pairs).T
    one, other = (np.zeros(len(shards.volumes), bool) for _ in names)
    for held, name in zip((one, other), names, strict=True):
        held[[n for scans in shards.table.get(name, {}).values() for n, _ in scans]] = True
    return int((one[a] & other[b]).sum() + (one[b] & other[a] & (a != b)).sum())


def judged(
    shards: Shards, names: tuple[str, str], masks: Sequence[tuple[int, str, int, str]], places: int
) -> Alias | None:
    """Tell whether masks that may be alike are so in most `places`; none is read once that is
    settled."""
    alike_in, shown = 0, None
    for number, (a, first, b, second) in enumerate(masks):
        if 2 * (alike_in + len(masks) - number) <= places:
            return None
        dice = dice_of(shards, a, first, b, second)
        if dice <= SAME_DICE:
            continue
        alike_in += 1
        one, other = shards.volumes[a].name, shards.volumes[b].name
        shown = shown or Alias(*names, one if a == b else f"{one} and {other}", dice)
        if 2 * alike_in > places:
            return shown
    return None


def apart(pair: tuple[str, str], ones: set[str], others: set[str]) -> bool:
    """Tell whether one name is among these and the other among those."""
    first, second = pair
    return (first in ones and second in others) or (first in others and second in ones)


def comparable(shards: Shards) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """List pairs of volumes whose masks can be laid on each other: (of one scan, of one patient on
    one grid).

    Grids are one where no voxel lies in another one's place: a header's rounding, and the sign of
    its zeros, are no difference.
    """
    scans: dict[str, list[int]] = {}
    people: dict[tuple, list[int]] = {}
    for number, volume in enumerate(shards.volumes):
        people.setdefault((volume.patient, volume.grid.shape), []).append(number)
        scans.setdefault(volume.fingerprint or f"volume {number}", []).append(number)
    own = {pair for group in scans.values() for pair in combinations_with_replacement(group, 2)}
    near = {
        (a, b)
        for group in people.values()
        for a, b in combinations(group, 2)
        if (a, b) not in own and same_place(shards.volumes[a].grid, shards.volumes[b].grid)
    }
    return sorted(own, key=lambda pair: (pair[0] != pair[1], pair)), sorted(near)


def same_place(one: Grid, other: Grid) -> bool:
    """Tell whether each voxel of two volumes of one shape lies where the other's does."""
    if np.array_equal(one.affine, other.affine):
        return True
    affine = np.asarray(one.affine, np.float64)
    moved = displacement(affine, np.asarray(other.affine, np.float64), one.shape)
    return agreement(moved, affine) != "refused"


def candidates(one: Volume, other: Volume) -> Iterator[tuple[str, str]]:
    """List pairs of names whose numbers of voxels allow for the overlap: 2 min / sum bounds the
    Dice."""
    names, theirs = ([n for n, c in volume.counts.items() if c.any()] for volume in (one, other))
    if not names or not theirs:
        return
    a = np.array([int(one.counts[name].sum()) for name in names], np.float64)
    b = np.array([int(other.counts[name].sum()) for name in theirs], np.float64)
    bound = 2 * np.minimum(a[:, None], b[None]) / (a[:, None] + b[None])
    for row, column in np.argwhere(bound > SAME_DICE):
        first, second = names[row], theirs[column]
        if first != second and (one is not other or first < second):
            yield first, second


def dice_of(shards: Shards, a: int, first: str, b: int, second: str) -> float:
    """Compute the Dice of two masks, or 0 as soon as what is left of it cannot be above .9.

    Slices are read from the one where both are largest on: what these do not share is lost for
    good.
    """
    one, other = shards.volumes[a], shards.volumes[b]
    total = int(one.counts[first].sum() + other.counts[second].sum())
    if not cut_alike(one.grid, other.grid):
        masks = (
            from_slices(load_masks(shards, n, range(len(v.counts[s])), s), v.grid)
            for n, v, s in ((a, one, first), (b, other, second))
        )
        return 2 * int(np.logical_and(*masks).sum()) / total
    digests = one.mask_digests.get(first), other.mask_digests.get(second)
    if digests[0] and digests[0] == digests[1]:
        return 1.0
    least = np.minimum(one.counts[first], other.counts[second])
    shared = int(least.sum())  # at most
    for plane in map(int, np.argsort(-least, kind="stable")):
        if 2 * shared <= SAME_DICE * total:
            return 0.0
        if not least[plane]:
            break
        masks = (load_masks(shards, n, [plane], s) for n, s in ((a, first), (b, second)))
        shared -= int(least[plane]) - int(np.logical_and(*masks).sum())
    return 2 * shared / total


def cut_alike(one: Grid, other: Grid) -> bool:
    """Tell whether two volumes of one shape are cut the same way: slice by slice, row by row."""
    steps = [(0, 0, 0), *(tuple(int(i == j) for j in range(3)) for i in range(3))]
    steps = [step for step in steps if all(s < n for s, n in zip(step, one.shape, strict=True))]
    return one.shape == other.shape and all(
        to_sliced(step, one) == to_sliced(step, other) for step in steps
    )


def doubts(shards: Shards, *, structures: bool = True) -> list[str]:
    """Say in a line each what may be one under two names: scans, structures, and people."""
    told = []
    if twice := same_scans(shards.volumes):
        pairs = "; ".join(" and ".join(v.name for v in own) for own in twice[:EXAMPLES])
        told.append(
            f"{len(twice)} scan(s) are there under two patients' names, voxel for voxel: {pairs}"
            f"{'; ...' * (len(twice) > EXAMPLES)}; leave one of them out, or make them one patient"
        )
    for alias in aliases(shards) if structures else ():
        told.append(
            f"{alias.one} and {alias.other} are one structure by their masks (Dice "
            f"{alias.dice:.2f} in {alias.where}): call them by one name, or hold both out together"
        )
    for (one, other), ids in same_ids(shards.volumes).items():
        told.append(
            f"{len(ids)} patient(s) of {one} and {other} have the same id, as {ids[0]}, and count "
            f"as different people: where they are the same, prepare with "
            f"`same_patients={one} {other}`"
        )
    return told
