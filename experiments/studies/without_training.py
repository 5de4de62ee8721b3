"""Score what learns nothing on real scans: place and intensity beside the nearest support mask.

    python -m experiments.studies.without_training --data SHARDS --seed 0 1 2 --output scores.csv \\
        --test-organs spleen left_atrium --val-organs left_kidney right_kidney
    python -m experiments.studies.without_training --data SHARDS --shots 5 1 --even

It asks what `meta_test` asks of a run with this split: the same patients, supports, volumes and
measures, so both can be paired. Without test organs every organ is tested and everybody is held
out. No run is needed, for there is none. `--change weight=1.5 shift=2,rounds=3` tries two other
settings of the rule on the same questions. The scores that RESULTS.md stands on are kept beside
this file; `--read FILE` makes their tables again.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from experiments.studies.kept_cases import read, rows_of, table, write
from jaxmeta import open_shards
from jaxmeta.atlas import Rule
from jaxmeta.commands.command import parse_words, run
from jaxmeta.data.shards.load import load_masks
from jaxmeta.data.shards.shards import structures
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.baselines import UNTRAINED
from jaxmeta.evaluation.protocol import Conditions, request_of
from jaxmeta.evaluation.protocols import few_shot
from jaxmeta.evaluation.scoring import Score, score_volumes
from jaxmeta.evaluation.trial import Trial, support_of
from jaxmeta.evaluation.untrained import nearest_support_mask, place_and_intensity
from jaxmeta.methods.options import Episodes
from jaxmeta.options import options, path_or_none
from jaxmeta.progress import following
from jaxmeta.runs.config import Config
from jaxmeta.splits import pool, split

NEAREST = "nearest support mask"


@options
class Options:
    """Score the rules that learn nothing on held-out organs."""

    data: tuple[Path, ...] = ()
    """Folders of shards."""
    read: Literal["none"] | Path = "none"
    """A file of scores that was kept, to make its tables; nothing is computed."""
    test_organs: tuple[str, ...] = ()
    """Organs to be asked for; without any, all."""
    val_organs: tuple[str, ...] = ()
    """Organs that a run would validate on: whose patients are divided as theirs would be."""
    seed: tuple[int, ...] = (0,)
    """Of the divisions of patients; each is one set of questions."""
    shots: tuple[int, ...] = (5,)
    """Labelled slices."""
    size: int = 64
    """Pixels of a side."""
    even: bool = False
    """Take the slices evenly spaced over the structure in one scan, as `predict` does; otherwise at
    random, as a test does."""
    support_sets: int = 4
    """Supports of each organ."""
    most: int = 0
    """Limits the volumes of an organ; 0: all."""
    change: tuple[str, ...] = ()
    """NAME=VALUE or NAME=VALUE,NAME=VALUE: other settings of the rule, a row for each word."""
    output: Literal["none"] | Path = "none"
    """A file for the scores of all cases."""


def main() -> None:
    """Parse, score, print and keep."""
    options = parse_words(Options, __doc__)
    if kept := path_or_none(options.read):
        print(told(read(kept)))
        return
    if not options.data:
        raise BadInput("`data`: name a folder of shards, or a file to `read`")
    scores = list(scored(options))
    print(told(scores))
    if path := path_or_none(options.output):
        write(path, scores, rows_of(scores))


def told(scores: Sequence[Score]) -> str:
    """Compare the rule with the nearest mask, and where there are other settings those with it."""
    return table(scores, NEAREST if len(rows_of(scores)) == 2 else UNTRAINED)


def scored(options: Options) -> Iterator[Score]:
    """Ask all rules every question."""
    shards = open_shards(options.data)
    rows = [nearest_support_mask(NEAREST), place_and_intensity(UNTRAINED)]
    rows += [place_and_intensity(change, changed(change)) for change in options.change]
    asked = options.test_organs or structures(shards)
    for seed in options.seed:
        parts = split.split(shards, test_organs=asked, val_organs=options.val_organs, seed=seed)
        for shots in options.shots:
            request = request_of(
                Config(tasks=Episodes(size=options.size, spacing=0.0)),
                shots,
                conditions=Conditions(largest_component=True),
                support_sets=options.support_sets,
                most=options.most or None,
            )
            trials = few_shot.trials(pool.pool(shards, parts, "test"), request)
            for trial in trials:
                trial = evenly(trial, shards, shots, options.size) if options.even else trial
                what = f"{trial.organ}, {shots} slices, seed {seed}"
                with following(what, "score") as further:
                    for score, _, _ in score_volumes(rows, trial):
                        further(more=1)
                        yield score._replace(shots=shots, run=str(seed))


def evenly(trial: Trial, shards, shots: int, size: int) -> Trial:
    """Give each support its patients' slices evenly spaced over the structure in their first scan,
    as a user would label them."""

    def spaced(support):
        (patient,) = support.patients
        volume, slices = trial.entry.patients[patient][0]
        masks = load_masks(shards, volume, slices, trial.organ)
        shown = [at for at, mask in zip(slices, masks, strict=True) if (mask > 0).sum() >= 10]
        if len(shown) < shots:
            raise BadInput(f"{patient}: {len(shown)} slices of {trial.organ}, and {shots} wanted")
        chosen = [shown[(2 * n + 1) * len(shown) // (2 * shots)] for n in range(shots)]
        chosen = [(volume, int(at)) for at in chosen]
        return support_of(shards, trial.organ, chosen, support.patients, size=size, mm=None)

    return trial._replace(supports=tuple(map(spaced, trial.supports)))


def changed(change: str) -> Rule:
    """Make the rule with other settings; `search.` leads those of the search."""
    rule = Rule()
    for text in change.split(","):
        name, _, value = text.partition("=")
        of, _, inner = name.rpartition(".")
        part = rule.search if of == "search" else rule
        if inner not in part._fields:
            raise BadInput(f"`change={text}`: the rule has {', '.join(part._fields)}")
        part = part._replace(**{inner: type(getattr(part, inner))(float(value))})
        rule = rule._replace(search=part) if of == "search" else part
    return rule


if __name__ == "__main__":
    run(main)
