"""Who may see what: organs and patients on each side of a split, and the pools that tasks are drawn
of.

Read `Split` and `split` first: organs are divided into training, validation and test, patients into
training and test, and nothing is on two sides. `pool` then gathers what one phase may draw:

    phase   organs        patients
    train   train_organs  train_patients
    val     val_organs    train_patients
    test    test_organs   everybody else

so that neither a test organ's label nor any slice of a test patient is in reach of training or of
the choice of a model. A patient is a name: "acdc/patient001" is of one data set, and a name that
several have (joined when they were prepared) is one person, held out of all of them or of none.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxmeta.data.names import slug
from jaxmeta.data.shards.shards import Shards, Volume, holders, structures
from jaxmeta.errors import BadInput


class Split(NamedTuple):
    """The names on each side; `_asdict()` is JSON, and `split_from_json` the way back."""

    train_organs: tuple[str, ...]
    val_organs: tuple[str, ...]
    test_organs: tuple[str, ...]
    train_patients: tuple[str, ...]
    test_patients: tuple[str, ...]


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


def split(
    shards: Shards,
    *,
    test_organs: Iterable[str],
    val_organs: Iterable[str],
    train_organs: Iterable[str] | None = None,
    test_patients: Iterable[str] | None = None,
    test_fraction: float = 0.5,
    seed: int,
) -> Split:
    """Divide organs as named and patients by the organs that their data sets have.

    Without `train_organs`, every organ that is not held out trains. A data set with a test organ
    beside other organs in use is divided by patient: as `test_patients` says where it names some of
    them, else `test_fraction` of those with a test organ, at random, yet at least two, one to learn
    from and one to score. One whose organs in use are all test organs gives every patient to the
    test; one without a test organ gives none that is not named. Each data set has a random stream
    of its own, so adding one does not divide the others anew - unless they share patients: then
    they are divided as one, and who is held out of one is held out of all; a data set that this
    leaves fewer than two takes others of its patients from training.
    """
    known = structures(shards)
    test, val = recognise(test_organs, known), recognise(val_organs, known)
    train = [organ for organ in known if organ not in {*test, *val}]
    if train_organs is not None:
        train = recognise(train_organs, known)
    everybody = sorted({volume.patient for volume in shards.volumes})
    named = set(test_patients or ())
    if strangers := sorted(named - set(everybody)):
        raise BadInput(f"unknown test patient {strangers[0]}: the shards hold {listed(everybody)}")
    if not 0 < test_fraction <= 1:
        raise BadInput(f"test fraction {test_fraction} must be above 0 and at most 1")
    with_test = {patient for organ in test for patient in holders(shards, organ)}
    with_others = {patient for organ in (*train, *val) for patient in holders(shards, organ)}
    showing: dict[str, set[str]] = {}  # patient -> data sets that show a test organ of theirs
    for organ in test:
        for patient, scans in holders(shards, organ).items():
            showing.setdefault(patient, set()).update(shards.volumes[n].dataset for n, _ in scans)
    held_out = set()
    for datasets in joined(shards):
        here = {volume.patient for volume in shards.volumes if volume.dataset in datasets}
        if named & here:
            held_out |= named & here
            continue
        if with_others.isdisjoint(here):
            held_out |= here if with_test & here else set()
            continue
        drawn = set()  # of data sets that share patients, who was drawn for one is for all
        for dataset in datasets:
            own = sorted({volume.patient for volume in shards.volumes if volume.dataset == dataset})
            subjects = [patient for patient in own if patient in with_test]
            left = [patient for patient in subjects if patient not in drawn]
            drawn |= set(left)
            count = max(int(test_fraction * len(subjects) + 0.5), min(2, len(subjects)))
            count = max(0, count - len(held_out & set(subjects)))
            rng = np.random.default_rng(
                np.random.SeedSequence([seed, zlib.crc32(dataset.encode())])
            )
            held_out |= {left[i] for i in rng.permutation(len(left))[:count]}
            shown = sorted(patient for patient, where in showing.items() if dataset in where)
            spared = [patient for patient in shown if patient not in held_out]
            lacking = max(0, min(2, len(shown)) - (len(shown) - len(spared)))
            held_out |= {spared[i] for i in rng.permutation(len(spared))[:lacking]}
    return checked(
        Split(
            tuple(train),
            tuple(val),
            tuple(test),
            tuple(patient for patient in everybody if patient not in held_out),
            tuple(sorted(held_out)),
        )
    )


def joined(shards: Shards) -> list[list[str]]:
    """Group data sets that share patients, directly or through others; most are alone."""
    whose: dict[str, set[str]] = {}
    for volume in shards.volumes:
        whose.setdefault(volume.dataset, set()).add(volume.patient)
    groups: list[tuple[set[str], set[str]]] = []  # data sets, patients
    for dataset, patients in sorted(whose.items()):
        sharing = [group for group in groups if not patients.isdisjoint(group[1])]
        groups = [group for group in groups if group not in sharing]
        datasets = {dataset}.union(*(group[0] for group in sharing))
        groups.append((datasets, patients.union(*(group[1] for group in sharing))))
    return sorted(sorted(datasets) for datasets, _ in groups)


def split_from_json(values: Mapping[str, Sequence[str]]) -> Split:
    """Read a split back from a run's configuration, and check it again."""
    return checked(Split(**{name: tuple(names) for name, names in values.items()}))


def checked(split: Split) -> Split:
    """Return the split if nothing is on two of its sides; refuse it otherwise."""
    organs = zip(("training", "validation", "test"), split[:3], strict=True)
    patients = zip(("training", "test"), split[3:], strict=True)
    for what, sides in (("organ", organs), ("patient", patients)):
        seen = {}
        for side, names in sides:
            for name in names:
                if seen.setdefault(name, side) != side:
                    raise BadInput(
                        f"{what} {name} is on the {seen[name]} and on the {side} side of the "
                        "split: take it out of one of them"
                    )
    return split


def recognise(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Find organs by any spelling of their names ("Left Atrium"), each once, in the order given."""
    found = {}
    for name in names:
        if slug(name) not in known:
            raise BadInput(f"unknown organ {name!r}: the shards hold {listed(known)}")
        found[slug(name)] = True
    return list(found)


def listed(names: Sequence[str], most: int = 100) -> str:
    """Write names for a message that has to end somewhere."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")


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
    checked(split)
    allowed = split[("train", "val", "test").index(phase)]
    wanted = allowed if organs is None else recognise(organs, structures(shards))
    foreign = {*split.train_organs, *split.val_organs, *split.test_organs}.difference(allowed)
    for organ in wanted:
        if organ in foreign or (organ not in allowed and phase != "test"):
            raise BadInput(
                f"organ {organ} is not a {phase} organ of this split, which holds "
                f"{listed(allowed)} for that"
            )
    training, held_out = set(split.train_patients), set(split.test_patients)
    entries = {}
    for organ in wanted:
        for patient, scans in holders(shards, organ).items():
            seen = patient in training and patient not in held_out
            if seen == (phase == "test"):
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
    bare = without(shards, entries, training - held_out) if phase == "test" else {}
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
            f"nothing to draw for {phase}: no {phase} organ ({listed(wanted) or 'none named'}) has "
            f"{least} patient(s) with labels on that side of the split"
        )
    return Pool(shards, chosen, hidden)


def without(
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
    used."""
    rows = [("role", "organ", "data set", "", "training side", "", "test side", "")]
    rows.append(("", "", "", "", *("patients", "slices") * 2))
    seen = set(split.train_patients)
    for role, organs in zip(("train", "val", "test"), split[:3], strict=True):
        for organ in organs:
            entries = {}
            for patient, scans in holders(shards, organ).items():
                for volume, slices in scans:
                    scan = shards.volumes[volume]
                    kind = " ".join(filter(None, (scan.modality, scan.channel)))
                    sides = entries.setdefault((scan.dataset, kind), ({}, {}))
                    sides[patient not in seen].setdefault(patient, []).append((volume, slices))
            for (dataset, kind), (training, test) in sorted(entries.items()):
                trains = role != "test" and len(training) >= (1 if single_patients else 2)
                cells = counted(training, trains) + counted(test, role == "test")
                rows.append((role, organ, dataset, kind, *cells))
    widths = [max(map(len, column)) for column in zip(*rows[1:], strict=True)]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if i > 3 and row is not rows[0] else cell.ljust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )


def counted(patients: Mapping[str, list], used: bool) -> tuple[str, str]:
    """Write how many patients and slices, in brackets if they are not used."""
    numbers = len(patients), slice_count(patients)
    return tuple(f"{n}" if used else f"({n})" for n in numbers)
