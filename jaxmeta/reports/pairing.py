"""Who may meet whom in a comparison of methods, and how their cases come together.

A run answers for its method: an algorithm, with the settings that tell it from other runs
(`runs/identity.py`). Runs of the same seed on the same data that leave out the same organs are one
replicate: they were given the same split and the same questions, so their cases pair one by one.
Those of a replicate have a baseline once, from the tests that computed it, if these agree on it.
What only one method can have is left out: its no adaptation, and baselines given as many steps as
it takes."""

from collections.abc import Iterable, Sequence, Set
from itertools import combinations, product
from pathlib import Path
from typing import Any, NamedTuple

from jaxmeta.errors import BadInput
from jaxmeta.evaluation.baselines import (
    BOUND,
    BY_RUN,
    METHOD,
    NOTES,
    OWN_ROWS,
    SCRATCH,
    TRANSFER,
)
from jaxmeta.evaluation.comparison import difference, evaluation_cases
from jaxmeta.evaluation.finetune import Tuned
from jaxmeta.evaluation.outcome import Table, parted
from jaxmeta.evaluation.scoring import Score
from jaxmeta.evaluation.settings import describe_tuning
from jaxmeta.methods import METHODS
from jaxmeta.reports import figures
from jaxmeta.runs.identity import names
from jaxmeta.splits.split import Split

# By how much a baseline's mean Dice may differ between the tests of a replicate: machines round in
# their own ways, and hundreds of steps make that visible. No margin of the table moves by more.
SAME = 0.01


class ComparedRun(NamedTuple):
    """A run that takes part."""

    folder: Path
    algorithm: str
    seed: int
    cohort: str
    split: Split
    method: str = ""

    @property
    def replicate(self) -> str:
        """Name what runs share that are compared case by case."""
        organs = ", ".join(sorted(self.split.test_organs)) or "nothing"
        return f"seed {self.seed} on {self.cohort}, {organs} left out"

    @property
    def slice_by_slice(self) -> bool:
        """Tell whether it fine-tunes, and its upper bound is trained, slice by slice; of a method
        that is not known here that is not told."""
        return self.algorithm in METHODS and METHODS[self.algorithm].slice_by_slice

    @property
    def row(self) -> str:
        """Name the method, unlike the baseline that it may be."""
        return f"{self.method} run" if self.method in (SCRATCH, TRANSFER) else self.method


class RunPart(NamedTuple):
    """What a run found for one number of shots; the run of its cases is their replicate."""

    entry: ComparedRun
    rows: dict[str, list[Score]]
    settings: dict[str, Tuned]

    @property
    def replicate(self) -> str:
        return self.entry.replicate


class Gathered(NamedTuple):
    """The cases of one number of shots, each row once a replicate."""

    scores: list[Score]
    notes: dict[str, str]  # by row
    left_out: list[str]


def entered(entries: Iterable[ComparedRun], recipes: Iterable[dict[str, Any]]) -> list[ComparedRun]:
    """Name the method of each: its algorithm, and what tells its recipe from others of the
    algorithm."""
    entries = list(entries)
    methods = names([entry.algorithm for entry in entries], list(recipes))
    return [entry._replace(method=name) for entry, name in zip(entries, methods, strict=True)]


def renamed_methods(
    entries: Sequence[ComparedRun], wanted: Sequence[str], rows: Set[str]
) -> list[ComparedRun]:
    """Give the methods other names, in the order in which they first come.

    Raises BadInput unless every method gets one of its own, which is none of the `rows` of a
    report.
    """
    methods = list(dict.fromkeys(entry.method for entry in entries))
    if len(wanted) != len(methods):
        raise BadInput(f"`names`: {len(wanted)} for {len(methods)} methods: {'; '.join(methods)}")
    for name in wanted:
        if wanted.count(name) > 1:
            raise BadInput(f"`names={name}`: given twice")
        if name in rows or not name.strip():
            raise BadInput(
                f"`names={name!r}`: is no name for a method beside the rows "
                f"{', '.join(sorted(rows))}"
            )
    new = dict(zip(methods, wanted, strict=True))
    return [entry._replace(method=new[entry.method]) for entry in entries]


def refuse_unpaired(entries: Sequence[ComparedRun]) -> None:
    """Refuse runs of several methods that do not pair one by one; those of one are never paired."""
    methods = dict.fromkeys(entry.method for entry in entries)
    if len(methods) < 2:
        return
    known = {}
    for entry in entries:
        other = known.setdefault((entry.method, entry.replicate), entry)
        if other is not entry:
            raise BadInput(
                f"{other.folder} and {entry.folder} are both {entry.method}, {entry.replicate}: "
                "beside another method, name one run a seed"
            )
    first = firsts(entries)
    for entry, method in product(first.values(), methods):
        if (method, entry.replicate) not in known:
            raise BadInput(
                f"{entry.folder} ({entry.method}, {entry.replicate}) has no run of {method} beside "
                "it: name one of the same seed, data and `test_organs`, or leave this one out"
            )
    for entry in entries:
        other = first[entry.replicate]
        if asked_alike(other.split) != asked_alike(entry.split):
            raise BadInput(
                f"{other.folder} and {entry.folder} ({entry.replicate}) learned from other organs "
                "or patients: train both with the same `train_organs`, `val_organs`, `test_organs` "
                "and `test_patients`"
            )


def asked_alike(split: Split) -> list[set[str]]:
    """Say what two runs must share to be paired: all of the split; where patients are labelled for
    an organ the organ and who is tested, for how many are labelled is what tells methods apart."""
    parts = split[:5]
    if split.labelled:
        parts = (split.test_organs, split.test_patients)
    return list(map(set, parts))


def refuse_overlapping(asked: Sequence[tuple[Path, Split, set[str]]]) -> None:
    """Refuse runs, each with the organs it is tested on, that do not have one mean over organs.

    All are tested on the same organs, or each leaves out, and is tested on, organs of its own.
    """
    for (one, split, own), (other, division, others) in combinations(asked, 2):
        if own != others and set(split.test_organs) & set(division.test_organs):
            raise BadInput(
                f"{one} is tested on {', '.join(sorted(own))}, {other} on "
                f"{', '.join(sorted(others))}: test runs that leave out the same organs on the "
                "same ones"
            )
        if own != others and own & others:
            raise BadInput(
                f"{one} and {other} leave out other organs and are both tested on "
                f"{', '.join(sorted(own & others))}: test them on organs of their own"
            )


def firsts(those: Iterable[ComparedRun | RunPart]) -> dict[str, ComparedRun | RunPart]:
    """Take the first of each replicate."""
    first = {}
    for each in those:
        first.setdefault(each.replicate, each)
    return first


def gathered(parts: Sequence[RunPart]) -> Gathered:
    """Bring the cases of all runs together, the adapted ones under their method's name.

    Raises BadInput where runs of a replicate were asked other questions, or do not agree on
    scratch. Another baseline that they do not agree on is left out.
    """
    for other, part in pairs(parts):
        if evaluation_cases(part.rows[METHOD]) != evaluation_cases(other.rows[METHOD]):
            raise BadInput(
                f"{other.entry.folder} and {part.entry.folder} ({part.replicate}) were asked other "
                "questions: train both at the same `tasks.size`, or at 64 and more, and test them "
                "with the same `seed`, `organs` and `data`"
            )
    scores, notes, left_out = [], {}, []
    for method in dict.fromkeys(part.entry.row for part in parts):
        own = [part for part in parts if part.entry.row == method]
        scores += [score._replace(row=method) for part in own for score in part.rows[METHOD]]
        notes[method] = described_settings(METHOD, own)
    for row in dict.fromkeys(row for part in parts for row in part.rows if row != METHOD):
        having = [part for part in parts if row in part.rows]
        own = parted(row)[0] in OWN_ROWS
        if own or row.endswith(", same steps"):
            left_out.append(f"{row} (each method's own)")
        elif row == BOUND and len({part.entry.slice_by_slice for part in parts}) > 1:
            left_out.append(f"{row} (MetaMedSeg's own goes slice by slice)")
        elif lacks(row, having, parts):
            left_out.append(f"{row} (not in every report)")
        elif (dispute := disputed(row, having)) and row == SCRATCH:
            raise BadInput(dispute)
        elif dispute:
            left_out.append(dispute)
        else:
            scores += [score for part in firsts(having).values() for score in part.rows[row]]
            told = [NOTES.get(row), described_settings(row, having), rounding(row, having)]
            notes[row] = "; ".join(filter(None, told))
    return Gathered(scores, notes, left_out)


def lacks(row: str, having: Sequence[RunPart], parts: Sequence[RunPart]) -> bool:
    """Tell whether a baseline lacks where it is needed: once in each replicate, but in every report
    what is trained for a run.
    """
    if row in BY_RUN:
        return len(having) < len(parts)
    return firsts(having).keys() != firsts(parts).keys()


def disputed(row: str, parts: Sequence[RunPart]) -> str | None:
    """Say how the tests of a replicate differ in a baseline that they should share, if they do.

    A report may say it too, so options are called such: no command spells what is in a file.
    """
    mend = ", and the same run for both (option transfer)" if row == TRANSFER else ""
    for other, part in pairs(parts):
        settings = [each.settings[row] for each in (other, part) if row in each.settings]
        if len({setting.finetune for setting in settings}) > 1:
            how = " and ".join(
                f"{describe_tuning(each.settings[row])} in {each.entry.folder}"
                for each in (other, part)
            )
            return (
                f"{row} is not the same for all, {how}: test both by the settings of one "
                f"run, whose search both then take (option tuned_on){mend}"
            )
        if abs(gap := difference(part.rows[row], other.rows[row]).mean) > SAME:
            return (
                f"{row} has {figures.number(gap, sign=True)} Dice in the test of "
                f"{part.entry.folder} over that of {other.entry.folder}: give both the same "
                f"network and loss, and the same options tasks.size and method.augment{mend}"
            )
    return None


def rounding(row: str, parts: Sequence[RunPart]) -> str:
    """Tell by how much tests differ in a baseline that they share, where it can be seen."""
    gaps = [abs(difference(part.rows[row], other.rows[row]).mean) for other, part in pairs(parts)]
    gap = max((gap for gap in gaps if gap == gap), default=0.0)
    return f"the same within {figures.number(gap)} in every test" if gap >= 0.0005 else ""


def pairs(parts: Sequence[RunPart]) -> list[tuple[RunPart, RunPart]]:
    """Pair the first of each replicate with each other one."""
    first = firsts(parts)
    return [(first[p.replicate], p) for p in parts if p is not first[p.replicate]]


def described_settings(row: str, parts: Iterable[RunPart]) -> str:
    """Tell the settings that a row had in some runs."""
    return " | ".join(
        dict.fromkeys(describe_tuning(part.settings[row]) for part in parts if row in part.settings)
    )


def run_part(entry: ComparedRun, table: Table) -> RunPart:
    """Sort what a run found by row, and call the run by its replicate."""
    rows = {}
    for score in table.scores:
        rows.setdefault(score.row, []).append(score._replace(run=entry.replicate))
    return RunPart(entry, rows, table.settings)
