"""Cases of a study kept as text, a line each, so that its tables can be made again anywhere."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

from jaxmeta.evaluation.comparison import case_of, difference, organs, row_mean
from jaxmeta.evaluation.intervals import number
from jaxmeta.evaluation.scoring import Score

# of a case; `run` is the seed of the division
CASE = ("run", "shots", "organ", "support_set", "support_patients", "patient", "case")


def write(path: Path, scores: Iterable[Score], rows: Sequence[str]) -> None:
    """Keep the Dice of these rows; nothing where a case was not asked of one."""
    scores = list(scores)
    dice = {(score.row, case_of(score)): score.dice for score in scores}
    with path.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file, lineterminator="\n")
        lines.writerow((*CASE, *rows))
        for case, score in {case_of(score): score for score in scores}.items():
            own = [dice.get((row, case)) for row in rows]
            told = ["" if each is None else f"{each:.5f}" for each in own]
            lines.writerow((*(getattr(score, name) for name in CASE), *told))


def read(path: Path) -> list[Score]:
    """Read what was kept: every row of each case, without what was not."""
    with path.open(newline="", encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    whole = dict(support_set=int, shots=int)
    return [
        Score(
            row=row,
            support_slices="",
            dice=float(line[row]),
            iou=float("nan"),
            outcome="",
            **{name: whole.get(name, str)(line[name]) for name in CASE},
        )
        for line in lines
        for row in line
        if row not in CASE and line[row]
    ]


def rows_of(scores: Sequence[Score]) -> list[str]:
    """List rows in the order of their first case."""
    return list(dict.fromkeys(score.row for score in scores))


def table(scores: Sequence[Score], reference: str, head: str = "{} slices") -> str:
    """Write means of rows by organ, with intervals over patients, and each minus the reference;
    where there are several runs with the interval that resamples them too. `head` is
    that of the table of so many shots."""
    lines = []
    for shots in dict.fromkeys(score.shots for score in scores):
        here = [score for score in scores if score.shots == shots]
        by = {row: [s for s in here if s.row == row] for row in rows_of(here)}
        columns = list(dict.fromkeys(organs(here)))
        several = len({score.run for score in here}) > 1
        more = [f"minus {reference}", *["with runs"] * several]
        lines += ["", f"| {head.format(shots)} | mean | {' | '.join([*columns, *more])} |"]
        lines.append("| --- " * (2 + len(columns) + len(more)) + "|")
        for row, own in by.items():
            means = [row_mean([s for s in own if s.organ == organ])[0] for organ in columns]
            told = [ranged(row_mean(own)[0]), *(number(each.mean) for each in means)]
            other = by[reference]
            told += [ranged(difference(own, other))] if row != reference else [""]
            if several:
                both = row != reference and difference(own, other, runs_too=True)
                told += [ranged(both) if both else ""]
            lines.append(f"| {row} | {' | '.join(told)} |")
        lines.append(f"\n{len({case_of(score) for score in here})} cases")
    return "\n".join(lines)


def ranged(interval) -> str:
    """Write a mean with its interval."""
    return f"{number(interval.mean)} [{number(interval.low)}, {number(interval.high)}]"
