"""Who is labelled, who is not, and who is tested: a semi-supervised split of patients.

Patients are told by name, by a file of names, by count
or by share; whoever is not told is drawn. A patient is one person in all data sets and sessions
that have the name, so nobody is on two sides. Of the unlabelled nothing but their voxels is used:
whose labels they are for is known to the test alone.
"""

from collections.abc import Mapping, Sequence, Set
from math import isfinite
from pathlib import Path

import numpy as np

from jaxmeta.data.shards.shards import Shards, holders, structures, without_labels
from jaxmeta.errors import BadInput
from jaxmeta.splits.published import PUBLISHED, PublishedList
from jaxmeta.splits.split import Split, checked_split, recognize, some_of

EVERYBODY_ELSE = "everybody-else"
SIDES = ("labelled", "unlabelled", "test_patients")


def labelled_split(
    shards: Shards,
    organ: str,
    *,
    labelled: Sequence[str],
    test_patients: Sequence[str],
    unlabelled: Sequence[str] = (EVERYBODY_ELSE,),
    seed: int,
) -> Split:
    """Divide the patients of the data sets that have an organ, or no label at all.

    `labelled`, `unlabelled` and `test_patients` are each told as patients
    ("la2018/06SR5RBREL16DQ6M8LWS", or the last part alone), as one file with a name a line, as one
    count ("4"), as one share ("0.2", of those who can be drawn) or as one published list ("la-8",
    "promise12"), which all three then must be. Who is told by name is taken before anybody is
    drawn; test patients are drawn before labelled ones, so that more labels leave the test as it
    is, and both of those who have the organ. Everybody else is unlabelled unless told.

    Raises BadInput for nobody labelled or tested, a labelled patient without the organ, a name
    that is not there, on two sides, or of several patients, and for more than there are.
    """
    (organ,) = recognize([organ], structures(shards))
    having = sorted(holders(shards, organ))
    datasets = {v.dataset for v in shards.volumes if organ in v.counts}
    datasets |= without_labels(shards)
    everybody = sorted({v.patient for v in shards.volumes if v.dataset in datasets})
    if list_of := published_list(labelled, unlabelled, test_patients):
        labelled, unlabelled, test_patients = listed(list_of, everybody)
    told = {
        side: named_patients(words, everybody, side)
        for side, words in zip(SIDES, (labelled, unlabelled, test_patients), strict=True)
    }
    rng = np.random.default_rng(np.random.SeedSequence([seed, 29]))
    order = [having[n] for n in rng.permutation(len(having))]
    for side in ("test_patients", "labelled"):
        taken = {name for names in told.values() for name in names or ()}
        free = [name for name in order if name not in taken]
        words = dict(labelled=labelled, test_patients=test_patients)[side]
        if told[side] is None:
            told[side] = drawn(words[0], free, side)
    others = [p for p in everybody if p not in {*told["labelled"], *told["test_patients"]}]
    if told["unlabelled"] is None:
        whole = unlabelled[0] == EVERYBODY_ELSE
        shuffled = [others[n] for n in rng.permutation(len(others))]
        told["unlabelled"] = (
            others if whole else sorted(drawn(unlabelled[0], shuffled, "unlabelled"))
        )
    return checked(organ, told, set(having))


def named_patients(words: Sequence[str], everybody: Sequence[str], side: str) -> list[str] | None:
    """Find the patients that are told by name or in a file; None where they are to be drawn."""
    if len(words) == 1 and (words[0] == EVERYBODY_ELSE or number(words[0]) is not None):
        return None
    if len(words) == 1 and Path(words[0]).is_file():
        lines = Path(words[0]).read_text("utf-8").split()
        if not lines:
            raise BadInput(f"{words[0]}: no name of a patient in it")
        words = lines
    return list(dict.fromkeys(found(word, everybody, side) for word in words))


def found(word: str, everybody: Sequence[str], side: str) -> str:
    """Find a patient by name, or by its last part where that is one patient's alone."""
    like = [name for name in everybody if word == name or name.rpartition("/")[2] == word]
    like = [word] if word in like else like
    if not like:
        raise BadInput(f"`{side}`: no patient {word}: there are {some_of(everybody)}")
    if len(like) > 1:
        raise BadInput(f"`{side}`: {word} is {' and '.join(like)}: say which")
    return like[0]


def number(word: str) -> float | None:
    """Read a count or a share; None where a word is neither."""
    try:
        return value if isfinite(value := float(word)) else None
    except ValueError:
        return None


def drawn(word: str, free: Sequence[str], side: str) -> list[str]:
    """Take as many of those who can be drawn as a count or a share says."""
    wanted = number(word)
    if wanted is None or wanted <= 0 or (wanted >= 1 and wanted != int(wanted)):
        raise BadInput(f"`{side}={word}`: must be a count, or a share between 0 and 1")
    count = int(wanted) if wanted >= 1 else max(1, round(wanted * len(free)))
    if count > len(free):
        raise BadInput(f"`{side}={word}`: only {len(free)} patients are left to be drawn")
    return list(free[:count])


def published_list(*sides: Sequence[str]) -> PublishedList | None:
    """Find the published list that every side is to be of, if one is named."""
    named = {word for words in sides for word in words if word in PUBLISHED}
    if not named:
        return None
    if len(named) > 1 or any(
        words not in ((*named,), (EVERYBODY_ELSE,)) for words in map(tuple, sides)
    ):
        raise BadInput(
            f"`{sorted(named)[0]}` is a published list of who is labelled, unlabelled and tested: "
            "give it for `labelled` and `test_patients`, and nothing else"
        )
    return PUBLISHED[named.pop()]


def listed(
    of: PublishedList, everybody: Sequence[str]
) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
    """Divide patients as a published list does: (labelled, unlabelled, test), by name."""
    last = {name.rpartition("/")[2]: name for name in everybody}
    training = of.training or sorted(set(last) - set(of.test))
    labelled = of.labelled or tuple(training[: of.first])
    missing = sorted({*labelled, *of.test} - set(last))
    if missing:
        raise BadInput(f"{of.name}: the shards have no patient {missing[0]}: it lists {of.about}")
    rest = tuple(name for name in training if name in last and name not in labelled)
    return tuple(labelled), rest, of.test


def checked(organ: str, told: Mapping[str, Sequence[str]], having: Set[str]) -> Split:
    """Make the split, if nobody is on two sides and nobody labelled lacks the organ."""
    for side, what in (("labelled", "to learn from"), ("test_patients", "to ask about")):
        if not told[side]:
            raise BadInput(f"`{side}`: nobody is there {what}")
    seen = {}
    for side, names in told.items():
        for name in names:
            if seen.setdefault(name, side) != side:
                raise BadInput(
                    f"patient {name} is {seen[name]} and {side}: take it out of one of them"
                )
    for name in told["labelled"]:
        if name not in having:
            raise BadInput(f"`labelled`: {name} has no {organ}: label another, or leave it out")
    labelled, unlabelled, test = (tuple(told[side]) for side in SIDES)
    return checked_split(Split((organ,), (), (organ,), labelled + unlabelled, test, labelled))


def describe(split: Split, shards: Shards) -> str:
    """Say in a line who is on which side, and who of the unlabelled is of another kind."""
    kinds = {v.patient: v.modality for v in shards.volumes}
    own = {kinds[name] for name in split.labelled}
    other = sorted(name for name in split.unlabelled if kinds[name] not in own)
    text = (
        f"{split.train_organs[0]}: {len(split.labelled)} labelled patients, "
        f"{len(split.unlabelled)} unlabelled, {len(split.test_patients)} tested"
    )
    if other:
        text += (
            f"; {len(other)} of the unlabelled are of another modality than the labelled "
            f"({some_of(other, 3)}): initial labels of them may be nothing"
        )
    return text
