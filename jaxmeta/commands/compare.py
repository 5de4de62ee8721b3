"""Runs that were tested one by one, on several machines or on several days, compared from their
reports.

    python -m experiments.compare --run RUN RUN [RUN ...]

`meta_test` writes RUN/report/ for each run it tests; nothing is computed again. Runs of one
algorithm with the same settings are seeds of one method; those of several methods make a comparison
(`reports/comparison.py`); those of a protocol of the literature are its folds
(`reports/cross_validation.py`)."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from jaxmeta.commands.command import parse_words
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.baselines import OWN_ROWS
from jaxmeta.evaluation.outcome import Outcome
from jaxmeta.evaluation.protocols import PROTOCOLS, Name, alpnet
from jaxmeta.evaluation.scoring import Score
from jaxmeta.options import options, path_or_none
from jaxmeta.reports import comparison, cross_validation
from jaxmeta.reports.pairing import ComparedRun, entered, refuse_overlapping, renamed_methods
from jaxmeta.reports.run import read_report, tested, write
from jaxmeta.runs.config import AnyLeak


@options
class Options:
    """Compare runs that were tested alike, case by case."""

    run: tuple[Path, ...]
    """Run folders, each with the report of its test."""
    output: Literal["auto"] | Path = "auto"
    """Where the comparison goes; auto: beside the first run's report."""
    reference: str = "best"
    """One of the runs, whose method every other row is held against, or a row that all have, as
    "place and intensity, no training"; p is adjusted over these comparisons. best: methods alone
    are, against the best of them, and p is adjusted over all pairs."""
    names: tuple[str, ...] = ()
    """What to call the methods, in the order in which they first come among the runs; by default
    their algorithm, and the settings that tell it from another of the same."""
    allow_leak: tuple[AnyLeak, ...] = ()
    """Leaks (as meta_test --allow-leak names them) that some of the tests have and others have not:
    compare them all the same; the table names whose they are."""
    protocol: Name = "few-shot"
    """By which protocol the runs were tested: those of some are in a folder of their own beside
    RUN/report."""


def main() -> None:
    """Parse and compare."""
    options = parse_words(Options, __doc__)
    how = dict(report=PROTOCOLS[options.protocol].folder, allow_leak=options.allow_leak)
    output, reference = path_or_none(options.output), options.reference
    print(compare(options.run, output, reference, options.names, **how))


def compare(
    folders: Sequence[Path],
    output: Path | None = None,
    reference: str = "best",
    names: Sequence[str] = (),
    *,
    report: str = "report",
    allow_leak: Sequence[str] = (),
) -> str:
    """Compare the reports of several runs; return the tables as text, and write them.

    Raises BadInput where the runs were not asked the same.
    """
    refuse_twice(folders)
    outcomes = [read_report(folder, report) for folder in folders]
    beside = folders[0] / report / f"of_{len(outcomes)}_runs"
    if any(outcome.protocol == alpnet.PROTOCOL.name for outcome in outcomes):
        if reference != "best" or names:
            raise BadInput(
                "--reference and --names: folds of a protocol make one table of one method"
            )
        refuse_other_leaks([(o.folder, o.leaks) for o in outcomes], allow_leak)
        return cross_validation.write(output or beside, outcomes)
    entries = entered(
        [
            ComparedRun(o.folder, o.algorithm, o.seed, scores_of(o)[0].cohort, o.split)
            for o in outcomes
        ],
        [outcome.recipe for outcome in outcomes],
    )
    several = len({entry.method for entry in entries}) > 1
    if reference != "best" and not several:
        raise BadInput(f"--reference {reference}: there is no other method to be held against it")
    if names and not several:
        raise BadInput("--names: names methods beside each other, and these runs are all of one")
    if names:
        entries = renamed_methods(
            entries, names, {score.row for o in outcomes for score in scores_of(o)}
        )
    refuse_overlapping([(o.folder, o.split, tested(o)) for o in outcomes])
    refuse_other_leaks([(o.folder, o.leaks) for o in outcomes], allow_leak)
    asked = [must_share(outcome) for outcome in outcomes]
    for folder, other in zip(folders, asked, strict=True):
        for what, value in asked[0].items():
            if other[what] != value and not (several and what == "rows"):  # each has its own
                raise BadInput(
                    f"{folders[0]} was tested with {what} {value}, {folder} with {other[what]}: "
                    "test them alike"
                )
    if not several:
        return write(output or beside, outcomes)
    rows = dict(zip([folder.resolve() for folder in folders], [e.row for e in entries]))
    return comparison.write(
        output or beside, entries, outcomes, named_row(reference, rows, outcomes)
    )


def named_row(
    reference: str, methods: Mapping[Path, str], outcomes: Sequence[Outcome]
) -> str | None:
    """Name the row that a reference is: of one of the runs, or a baseline that all share; None for
    "best"."""
    if reference == "best":
        return None
    if row := methods.get(Path(reference).resolve()):
        return row
    each = [{score.row for score in scores_of(outcome)} for outcome in outcomes]
    shared = set.intersection(*each) - {*OWN_ROWS}
    if reference not in shared:
        raise BadInput(
            f"--reference {reference}: is neither among the runs nor a row that all of them have "
            f"({'; '.join(sorted(shared)) or 'there is none'})"
        )
    return reference


def scores_of(outcome: Outcome) -> list[Score]:
    """Take the cases of all numbers of shots."""
    return [score for table in outcome.tables for score in table.scores]


def refuse_twice(folders: Sequence[Path]) -> None:
    """Refuse the same run under two names."""
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise BadInput("a run is named twice: runs that are compared must be different")


def refuse_other_leaks(tests: Sequence[tuple[Path, Sequence[str]]], allowed: Sequence[str]) -> None:
    """Refuse to set a test with a leak (a run, and its leaks) beside one without, unless it is
    allowed."""
    (first, own), *others = tests
    for other, theirs in others:
        if differ := sorted((set(own) ^ set(theirs)) - set(allowed)):
            one, two = (first, other) if differ[0] in own else (other, first)
            raise BadInput(
                f"{one} is tested with the leak {differ[0]}, {two} without: test them alike, or "
                f"add --allow-leak {differ[0]}, which the table then names"
            )


def must_share(outcome: Outcome) -> dict[str, object]:
    """Give what runs must share to be compared."""
    return {
        "shots": tuple(table.shots for table in outcome.tables),
        "support_sets": outcome.support_sets,
        "protocol": outcome.protocol,
        **outcome.conditions._asdict(),
        **outcome.measuring._asdict(),
        "rows": sorted({score.row for score in scores_of(outcome)}),
    }
