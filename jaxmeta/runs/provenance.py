"""What parameters and settings have seen, through all that they stand on, and what of it is held
out here.

Read `Seen` and `leaks` first. A run keeps a `Seen` for all that touched it: what it was trained on,
what chose its checkpoint, and the same of whatever it began with, down to random or converted
weights; a search for settings keeps its own. A training and a test make a `Held` of what they hold
out, and ask `leaks` the one question: is anything on both sides - an organ by any name, a patient,
or a scan's voxels under whatever name? Other names of an organ are found by its masks: in the
shards at hand, and where a scan that somebody had is there again, by the digests of what was drawn
in it.

`refuse_leaks` ends there with a line that says what, who and the way out. What `allow_leak` lets
through comes back, and is printed with every score.
"""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, NamedTuple

from jaxmeta.data.identity import Masks, aliases, digests, renamed, same_scans
from jaxmeta.data.shards.shards import Shards, structures
from jaxmeta.errors import BadInput
from jaxmeta.runs.config import Config
from jaxmeta.splits.pool import Pool, volumes_of
from jaxmeta.splits.split import Split

TRAINED, CHOSEN, TUNED = "trained on", "chosen on", "tuned on"
HERE = ""  # who has seen it: the run that keeps this


class Seen(NamedTuple):
    """What somebody has looked at, and what came of it."""

    by: str
    how: str
    organs: tuple[str, ...] = ()
    patients: tuple[str, ...] = ()
    contents: Mapping[str, str] = {}  # fingerprint -> the volume's name there
    unknown: str = ""  # what nobody here can check
    allowed: tuple[str, ...] = ()  # leaks that it was trained with
    hides: str = ""  # from whom setting 2 of a protocol hid slices
    masks: Masks = {}  # of these organs, in all scans that were at hand
    labelled: tuple[str, ...] | None = None  # whose labels of the organs it had; None: everybody's


class HeldOut(NamedTuple):
    """What is held out."""

    organs: Mapping[str, str] = {}  # by any name that it has -> the organ under test
    patients: Set[str] = frozenset()
    contents: Mapping[str, str] = {}  # fingerprint -> volume
    validation: Mapping[str, str] = {}  # likewise: organs that choose, which nobody trains on
    masks: Masks = {}  # of both, in all scans at hand
    unlabelled: Set[str] = frozenset()  # patients whose labels of the organs below are not given
    taught: Mapping[str, str] = {}  # likewise by any name


class Leak(NamedTuple):
    """Something that is on both sides: its kind, which `allow_leak` takes, and a line that tells
    it."""

    kind: str
    text: str


def leaks(provenance: Iterable[Seen], held: HeldOut, *, kind: str | None = None) -> list[Leak]:
    """Find what of the held-out was seen, of whatever kind or all of one `kind`."""
    found = []
    for seen in provenance:
        organs = dict(held.validation) if seen.how == TRAINED else {}
        organs |= held.organs
        others = renamed(seen.masks, held.masks).items()
        organs |= {n: organs[of] for n, of in others if of in organs and n not in organs}
        for name in sorted(set(organs) & set(seen.organs)):
            also = f" ({organs[name]} by its masks)" if organs[name] != name else ""
            found.append(Leak(kind or "organs", who_saw(seen, name + also)))
        if seen.how == TRAINED and (known := sorted(set(held.taught) & set(seen.organs))):
            labelled = seen.patients if seen.labelled is None else seen.labelled
            for name in sorted(held.unlabelled & set(labelled)):
                text = f"{seen.by or 'this run'} was trained on labels of {known[0]} in {name}"
                found.append(Leak(kind or "organs", f"{text}, who is not labelled here"))
        both = sorted(held.patients & set(seen.patients))
        found += [Leak(kind or "patients", who_saw(seen, name)) for name in both]
        both = held.contents.keys() & seen.contents.keys()
        for same in sorted(both, key=lambda each: held.contents[each]):
            theirs, ours = seen.contents[same], held.contents[same]
            of = ours if ours == theirs else f"{theirs}, voxel for voxel {ours}"
            found.append(Leak(kind or "contents", who_saw(seen, of)))
    return found


def who_saw(seen: Seen, what: str) -> str:
    """Say who saw something that is held out."""
    who = f"{seen.by} was" if seen.by else "this run would be"
    return f"{who} {seen.how} {what}, which is held out here"


def refuse_leaks(
    found: Sequence[Leak], allowed: Iterable[str], way: str = "choose another"
) -> tuple[Leak, ...]:
    """Refuse the first leak that is not of an allowed kind; return those that are."""
    for leak in found:
        if leak.kind not in allowed:
            more = sum(other.kind == leak.kind for other in found) - 1
            also = f" (and {more} more)" if more else ""
            raise BadInput(
                f"{leak.text}{also}: {way}, or add `allow_leak={leak.kind}`, which every score "
                "then names"
            )
    return tuple(found)


def held_out(
    shards: Shards,
    organs: Iterable[str],
    patients: Iterable[str],
    *,
    validation: Iterable[str] = (),
) -> HeldOut:
    """Say what is held out: organs, by all names that their masks have, patients, and the contents
    of all their volumes.
    """
    organs, validation, patients = set(organs), set(validation), set(patients)
    others = set(structures(shards)) - organs
    names, choosing = ({name: name for name in of} for of in (organs, validation))
    if others:
        for one, other, *_ in aliases(shards, organs | validation, others):
            for name, alias in ((one, other), (other, one)):
                if name in organs and alias not in organs:
                    names[alias] = name
                if name in validation and alias not in validation:
                    choosing[alias] = name
    volumes = [volume for volume in shards.volumes if volume.patient in patients]
    contents = {volume.fingerprint: volume.name for volume in volumes if volume.fingerprint}
    both = ((volume.fingerprint, volume.mask_digests) for volume in shards.volumes)
    masks = digests(both, organs | validation)
    return HeldOut(names, frozenset(patients), contents, choosing, masks)


def for_run(held: HeldOut, division: Split, allowed: Iterable[str]) -> HeldOut:
    """Say what a run with this split, that allows these leaks, holds out: no organ, where some
    patients are labelled for it and others tested; no patient, where sharing them is its own
    leak."""
    if division.labelled:
        others = frozenset(division.unlabelled)
        held = held._replace(organs={}, masks={}, taught=held.organs, unlabelled=others)
    shared = "shared-patients" in allowed
    return held._replace(patients=frozenset(), contents={}) if shared else held


def held_by(pool: Pool) -> HeldOut:
    """Say what a test asks about: the organs, the patients and the volumes of its pool."""
    patients = {name for entry in pool.entries for name in entry.patients}
    patients |= {
        pool.shards.volumes[volume].patient for entry in pool.entries for volume in entry.bare
    }
    return held_out(pool.shards, {e.organ for e in pool.entries}, patients)


def twins(pool: Pool) -> list[Leak]:
    """Find scans that two patients of a test have: one would give its support to the other."""
    found = []
    for entry in pool.entries:
        numbers = {number for scans in entry.patients.values() for number, _ in scans}
        for same in same_scans([pool.shards.volumes[number] for number in sorted(numbers)]):
            names = " and ".join(volume.name for volume in same)
            text = f"{names} hold the same voxels, so that one gives its labels to the other"
            found.append(Leak("contents", text))
    return list(dict.fromkeys(found))


def namesakes(provenance: Iterable[Seen], held: HeldOut) -> list[str]:
    """Say which of the held-out may be people that were seen: of the same id, in another data
    set."""
    ids = {
        patient.rpartition("/")[2]: (seen, patient)
        for seen in provenance
        for patient in seen.patients
        if "/" in patient
    }
    named = {patient: ids.get(patient.rpartition("/")[2]) for patient in sorted(held.patients)}
    both = [(ours, *of) for ours, of in named.items() if of and "/" in ours and ours != of[1]]
    if not both:
        return []
    ours, seen, theirs = both[0]
    return [
        f"{len(both)} patient(s) held out have ids that {seen.by or 'this run'} was {seen.how} in "
        f"another data set, as {ours} and {theirs}: where they are the same people, prepare with "
        "`same_patients`"
    ]


def contents_of(pools: Iterable[Pool]) -> dict[str, str]:
    """Give the fingerprints of all volumes that pools may draw."""
    volumes = (volume for pool in pools for volume in volumes_of(pool))
    return {volume.fingerprint: volume.name for volume in volumes if volume.fingerprint}


def seen_here(
    config: Config, division: Split, training: Pool | None = None, validating: Pool | None = None
) -> tuple[Seen, ...]:
    """Say what a run sees itself: what it trains on, and what chooses its checkpoint.

    Without pools, of a run that kept none, its split alone tells it. A pool of nobody, as that of
    synthetic cohorts, has shown it neither organs nor patients, whatever the split would let it
    see.
    """
    nobody = training is not None and not any(entry.patients for entry in training.entries)
    unknown = "" if training else "trained before scans were remembered: by names alone"
    trained = Seen(
        HERE,
        TRAINED,
        () if nobody else division.train_organs,
        () if nobody else division.train_patients,
        contents_of([training]) | unlabelled_contents(training) if training else {},
        unknown,
        tuple(config.allow_leak),
        hides(config, division),
        labelled=division.labelled or None,
    )
    if not division.val_organs:
        return (trained,)
    known = contents_of([validating]) if validating else {}
    return trained, Seen(HERE, CHOSEN, division.val_organs, division.train_patients, known)


def unlabelled_contents(training: Pool) -> dict[str, str]:
    """List the scans that were seen without their labels, by fingerprint."""
    scans = (training.shards.volumes[number] for number in training.unlabelled)
    return {volume.fingerprint: volume.name for volume in scans if volume.fingerprint}


def hides(config: Config, division: Split) -> str:
    """Name what setting 2 of a protocol hides, which depends on the organs; nothing elsewhere."""
    if config.setting != 2:
        return ""
    return f"{config.protocol}: " + "; ".join(", ".join(organs) for organs in division[:3])


def unknowns(provenance: Iterable[Seen]) -> list[str]:
    """Say what of a chain nobody here can check."""
    said = (f"{seen.by or 'this run'}, {seen.unknown}" for seen in provenance if seen.unknown)
    return list(dict.fromkeys(said))


def with_folder(provenance: Iterable[Seen], folder: Any) -> tuple[Seen, ...]:
    """Put a run's folder where it speaks of itself."""
    return tuple(seen._replace(by=seen.by or str(folder)) for seen in provenance)


def seen_from_json(values: Mapping[str, Any]) -> Seen:
    """Read back what `_asdict` and JSON made of it."""
    lists = ("organs", "patients", "allowed") + ("labelled",) * (values.get("labelled") is not None)
    return Seen(**{n: tuple(v) if n in lists else v for n, v in values.items()})
