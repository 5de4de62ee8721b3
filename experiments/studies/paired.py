"""Put rows of several tests beside each other, case by case, and keep them as text.

    python -m experiments.studies.paired --test =R0,R1,R2 "transfer=T0,T1,T2" --output cases.csv
    python -m experiments.studies.paired --read cases.csv

A test is LABEL=RUN,RUN,...: tested runs of the divisions 0, 1, ..., whose rows are named after the
label ("transfer, adapted"); what learns nothing is the same in all, and is taken once. All must
have asked the same cases. `--rows` keeps some of the rows alone.
"""

from pathlib import Path
from typing import Literal

from experiments.studies import kept_cases
from jaxmeta.commands.command import parse_words, run
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.baselines import UNTRAINED
from jaxmeta.evaluation.comparison import case_of
from jaxmeta.evaluation.scoring import Score
from jaxmeta.options import options, path_or_none
from jaxmeta.reports.figures import read_scores

ALIKE = (UNTRAINED, "nearest support mask")


@options
class Options:
    """Put rows of several tests beside each other."""

    test: tuple[str, ...] = ()
    """LABEL=RUN,RUN,...: tested runs of the divisions 0, 1, ...; without a label rows keep their
    names."""
    rows: tuple[str, ...] = ()
    """Rows to keep, as they are named in the end; without any, all."""
    read: Literal["none"] | Path = "none"
    """A file of cases that was kept, to make its table."""
    output: Literal["none"] | Path = "none"
    """A file for all cases."""
    reference: str = UNTRAINED
    """The row that every other one is compared with."""


def main() -> None:
    """Parse, gather, print and keep."""
    options = parse_words(Options, __doc__)
    if kept := path_or_none(options.read):
        print(kept_cases.table(kept_cases.read(kept), options.reference))
        return
    if not options.test:
        raise BadInput("`test`: name tested runs, or a file to `read`")
    scores = gathered(options.test)
    rows = list(options.rows) or kept_cases.rows_of(scores)
    scores = [score for score in scores if score.row in rows]
    print(kept_cases.table(scores, options.reference))
    if path := path_or_none(options.output):
        kept_cases.write(path, scores, rows)


def gathered(tests: tuple[str, ...]) -> list[Score]:
    """Read the scores of all tests, each row once; refuse tests that asked other cases."""
    found, asked = {}, {}
    for text in tests:
        label, _, folders = text.partition("=")
        for division, folder in enumerate(folders.split(",")):
            path = Path(folder, "report", "scores.csv")
            if not path.is_file():
                raise BadInput(f"{path}: not there; test the run first")
            cases = set()
            for score in read_scores(path, Score):
                alone = score.row in ALIKE or not label
                row = score.row if alone else f"{label}, {score.row}"
                score = score._replace(row=row, run=str(division))
                cases.add(case_of(score))
                found.setdefault((row, case_of(score)), score)
            if asked.setdefault(division, cases) != cases:
                raise BadInput(f"{path}: other cases than the first test of division {division}")
    return list(found.values())


if __name__ == "__main__":
    run(main)
