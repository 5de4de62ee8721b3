"""What one phase may draw, of who is on its side of a split:

    phase   organs        patients
    train   train_organs  train_patients
    val     val_organs    train_patients
    test    test_organs   everybody else

so that neither a test organ's label nor any slice of a test patient is in reach of training or of
the choice of a model.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxmeta.data.shards.shards import Shards, Volume, holders, structures, without_labels
from jaxmeta.errors import BadInput
from jaxmeta.splits.split import Split, checked_split, recognize, some_of


class Entry(NamedTuple):
    """One structure of one data set, and the patients of one phase who have it.

    Scans of two modalities or channels in one data set make two entries: a CT says little about an
    MR.
    """

    dataset: str
    organ: str
    patients: dict[
        str, list[tuple[int, Sequence[int]]]
    ]  # name -> (volume, its slices with the organ)
    modality: str
    channel: str | None = None
    weight: float = 1.0  # how often it is drawn, where weights are asked for
    bare: tuple[int, ...] = ()  # volumes under test whose labels name the organ and show none of it


class Pool(NamedTuple):
    """What one phase may draw; a structure's number is its place among the entries."""

    shards: Shards
    entries: tuple[Entry, ...]
    hidden: Mapping[int, frozenset[int]] = {}  # volume -> slices that must not be drawn at all
    unlabelled: tuple[int, ...] = ()  # volumes of whom nothing but the voxels may be seen


def pool(
    shards: Shards,
    split: Split,
    phase: str,
    *,
    organs: Iterable[str] | None = None,
    single_patients: bool = False,
    hidden: Mapping[int, frozenset[int]] = {},
) -> Pool:
    """Gather what `phase` ("train", "val" or "test") may draw, by data set, organ, modality and
    channel.

    An entry of training or validation needs a second patient to prove what was learned from the
    first; `single_patients` keeps those of one patient too, whose tasks then prove it on other
    slices of the same scans. `organs` narrows the phase to some of its organs; in the test it may
    also name organs that the split does not know, as shards prepared later have them, but never one
    that was trained or validated on. `hidden` slices are not drawn, with the organ or without.
    """
    checked_split(split)
    allowed = split[("train", "val", "test").index(phase)]
    wanted = allowed if organs is None else recognize(organs, structures(shards))
    foreign = {*split.train_organs, *split.val_organs, *split.test_organs}.difference(allowed)
    for organ in wanted:
        if organ in foreign or (organ not in allowed and phase != "test"):
            raise BadInput(
                f"organ {organ} is not a {phase} organ of this split, which holds "
                f"{some_of(allowed)} for that"
            )
    training, held_out = set(split.train_patients), set(split.test_patients)
    given = set(split.labelled) if split.labelled and phase != "test" else training
    entries = {}
    for organ in wanted:
        for patient, scans in holders(shards, organ).items():
            seen = patient in training and patient not in held_out
            if seen == (phase == "test") or (seen and patient not in given):
                continue
            for volume, slices in scans:
                scan = shards.volumes[volume]
                if volume in hidden:
                    slices = np.array([n for n in slices if n not in hidden[volume]], np.int32)
                if not len(slices):
                    continue
                kind = scan.dataset, organ, scan.modality, scan.channel or ""
                patients = entries.setdefault(kind, {})
                patients.setdefault(patient, []).append((volume, slices))
    least = 1 if single_patients or phase == "test" else 2
    bare = bare_volumes(shards, entries, training - held_out) if phase == "test" else {}
    chosen = tuple(
        Entry(
            dataset,
            organ,
            dict(sorted(patients.items())),
            modality,
            channel or None,
            bare=bare.get((dataset, organ, modality, channel), ()),
        )
        for (dataset, organ, modality, channel), patients in sorted(entries.items())
        if len(patients) >= least and (phase == "test" or slice_count(patients) >= 2)
    )
    if not chosen:
        raise BadInput(
            f"nothing to draw for {phase}: no {phase} organ ({some_of(wanted) or 'none named'}) "
            f"has {least} patient(s) with labels on that side of the split"
        )
    return Pool(shards, chosen, hidden, unlabelled_scans(shards, split) if phase == "train" else ())


def unlabelled_scans(shards: Shards, split: Split) -> tuple[int, ...]:
    """List the volumes of whom nothing but the voxels may be seen: those of unlabelled patients, in
    the data sets in which others are labelled, or nobody is."""
    given, others = set(split.labelled), set(split.unlabelled)
    datasets = {
        volume.dataset
        for volume in shards.volumes
        if volume.patient in given and not volume.counts.keys().isdisjoint(split.train_organs)
    }
    datasets |= without_labels(shards)
    return tuple(
        number
        for number, volume in enumerate(shards.volumes)
        if volume.patient in others and volume.dataset in datasets
    )


def bare_volumes(
    shards: Shards, kinds: Iterable[tuple[str, str, str, str]], training: set[str]
) -> dict[tuple[str, str, str, str], tuple[int, ...]]:
    """List for each kind of entry the volumes, not of training patients, whose labels lack the
    organ.

    The organ is not there, or out of view: whatever is predicted in such a volume is a false alarm.
    """
    found = {}
    for number, volume in enumerate(shards.volumes):
        if volume.patient in training:
            continue
        for organ, counts in volume.counts.items():
            kind = volume.dataset, organ, volume.modality, volume.channel or ""
            if kind in kinds and not counts.any():
                found[kind] = (*found.get(kind, ()), number)
    return found


def volumes_of(pool: Pool) -> list[Volume]:
    """List the volumes that a pool may draw, each once."""
    numbers = {n for entry in pool.entries for scans in entry.patients.values() for n, _ in scans}
    return [pool.shards.volumes[number] for number in sorted(numbers)]


def slice_count(patients: Mapping[str, list]) -> int:
    """Count the slices that hold an organ, over patients and their volumes."""
    return sum(len(slices) for scans in patients.values() for _, slices in scans)


def count_table(shards: Shards, split: Split, *, single_patients: bool = False) -> str:
    """Write patients and slices of every structure on each side, brackets around what is never
    used; of a semi-supervised split only who is labelled or tested shows any."""
    rows = [("role", "organ", "data set", "", "training side", "", "test side", "")]
    rows.append(("", "", "", "", *("patients", "slices") * 2))
    seen, known = set(split.train_patients), {*split.labelled, *split.test_patients}
    for role, organs in zip(("train", "val", "test"), split[:3], strict=True):
        for organ in organs:
            entries = {}
            for patient, scans in holders(shards, organ).items():
                for volume, slices in scans if not split.labelled or patient in known else ():
                    scan = shards.volumes[volume]
                    kind = " ".join(filter(None, (scan.modality, scan.channel)))
                    sides = entries.setdefault((scan.dataset, kind), ({}, {}))
                    sides[patient not in seen].setdefault(patient, []).append((volume, slices))
            for (dataset, kind), (training, test) in sorted(entries.items()):
                trains = role != "test" and len(training) >= (1 if single_patients else 2)
                cells = count_cells(training, trains) + count_cells(test, role == "test")
                rows.append((role, organ, dataset, kind, *cells))
    widths = [max(map(len, column)) for column in zip(*rows[1:], strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i > 3 and row is not rows[0] else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def count_cells(patients: Mapping[str, list], used: bool) -> tuple[str, str]:
    """Write how many patients and slices, in brackets if they are not used."""
    numbers = len(patients), slice_count(patients)
    return tuple(f"{n}" if used else f"({n})" for n in numbers)
