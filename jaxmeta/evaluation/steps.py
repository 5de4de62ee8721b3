"""Scores after so many inner steps, for the curves of a report."""

from collections.abc import Callable, Iterator, Sequence

from jaxmeta.evaluation.baselines import METHOD
from jaxmeta.evaluation.finetune import Finetune, Tuned
from jaxmeta.evaluation.outcome import Curves
from jaxmeta.evaluation.scoring import Score
from jaxmeta.evaluation.segmenter import Segmenter
from jaxmeta.methods.testing import OWN


def steps_curves(
    make: Callable[..., Segmenter],
    ask: Callable[..., Iterator],
    settings: dict[str, Tuned],
    counts: Sequence[int],
    scores: Sequence[Score],
    place: Callable[[Score], Score],
) -> Curves:
    """Score each row that follows the method's own rule after each number of its steps.

    What is among the `scores` of the table is not computed again.
    """
    curves, scored = {}, {score.row for score in scores}
    for row, (setting, *_) in settings.items():
        own = setting.optimizer == OWN
        if row not in scored or not (own or row == METHOD):
            continue
        rate, known = (setting.rate, {setting.steps: row}) if own else (1.0, {})
        known |= {0: "no adaptation"} if row == METHOD and "no adaptation" in scored else {}
        curves[row] = {}
        for count in counts:
            if count in known:
                same = [score for score in scores if score.row == known[count]]
                curves[row][count] = [score._replace(row=row) for score in same]
                continue
            after = make(row, row, Finetune(OWN, rate, count))
            found = [place(score) for score, _, _ in ask([after], what=f"{row}, {count} steps")]
            curves[row][count] = [score for score in found if score.row == row]
    return curves
