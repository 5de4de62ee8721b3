"""Who may see what: organs and patients on each side of a split.

Read `Split` and `split` first: organs are divided into training, validation and test, patients into
training and test, and nothing is on two sides; `pool.py` then gathers what one phase may draw. A
patient is a name: "acdc/patient001" is of one data set, and a name that several have (joined when
they were prepared) is one person, held out of all of them or of none.
"""

import zlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from jaxmeta.data.names import slug
from jaxmeta.data.shards.shards import Shards, holders, structures
from jaxmeta.errors import BadInput


class Split(NamedTuple):
    """The names on each side; `_asdict()` is JSON, and `split_from_json` the way back."""

    train_organs: tuple[str, ...]
    val_organs: tuple[str, ...]
    test_organs: tuple[str, ...]
    train_patients: tuple[str, ...]
    test_patients: tuple[str, ...]
    labelled: tuple[str, ...] = ()
    """Of semi-supervised learning the training patients whose labels are given: then an organ is
    learned from some patients and tested on others, and only patients are held out. Without any,
    all labels are given."""

    @property
    def unlabelled(self) -> tuple[str, ...]:
        """List the training patients of whom there are voxels alone."""
        given = set(self.labelled or self.train_patients)
        return tuple(name for name in self.train_patients if name not in given)


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
    test, val = recognize(test_organs, known), recognize(val_organs, known)
    train = [organ for organ in known if organ not in {*test, *val}]
    if train_organs is not None:
        train = recognize(train_organs, known)
    everybody = sorted({volume.patient for volume in shards.volumes})
    named = set(test_patients or ())
    if strangers := sorted(named - set(everybody)):
        raise BadInput(f"unknown test patient {strangers[0]}: the shards hold {some_of(everybody)}")
    if not 0 < test_fraction <= 1:
        raise BadInput(f"test fraction {test_fraction} must be above 0 and at most 1")
    with_test = {patient for organ in test for patient in holders(shards, organ)}
    with_others = {patient for organ in (*train, *val) for patient in holders(shards, organ)}
    showing: dict[str, set[str]] = {}  # patient -> data sets that show a test organ of theirs
    for organ in test:
        for patient, scans in holders(shards, organ).items():
            showing.setdefault(patient, set()).update(shards.volumes[n].dataset for n, _ in scans)
    held_out = set()
    for datasets in sharing_patients(shards):
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
    return checked_split(
        Split(
            tuple(train),
            tuple(val),
            tuple(test),
            tuple(patient for patient in everybody if patient not in held_out),
            tuple(sorted(held_out)),
        )
    )


def sharing_patients(shards: Shards) -> list[list[str]]:
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
    return checked_split(Split(**{name: tuple(names) for name, names in values.items()}))


def checked_split(split: Split) -> Split:
    """Return the split if nothing is on two of its sides, but for organs of which some training
    patients are labelled; refuse it otherwise."""
    organs = zip(("training", "validation", "test"), split[:3], strict=True)
    organs = () if split.labelled else organs
    patients = zip(("training", "test"), (split.train_patients, split.test_patients), strict=True)
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


def recognize(names: Iterable[str], known: Sequence[str]) -> list[str]:
    """Find organs by any spelling of their names ("Left Atrium"), each once, in the order given."""
    found = {}
    for name in names:
        if slug(name) not in known:
            raise BadInput(f"unknown organ {name!r}: the shards hold {some_of(known)}")
        found[slug(name)] = True
    return list(found)


def some_of(names: Sequence[str], most: int = 100) -> str:
    """Write names for a message that has to end somewhere."""
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if names[most:] else "")
