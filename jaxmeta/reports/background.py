"""What stands behind a report's numbers: on which data, patient by patient, after what training,
and when."""

import datetime
import math
from collections.abc import Sequence

from jaxmeta.data.names import amount
from jaxmeta.evaluation.baselines import METHOD
from jaxmeta.evaluation.outcome import Outcome
from jaxmeta.evaluation.scoring import Score
from jaxmeta.progress import minutes
from jaxmeta.reports import figures
from jaxmeta.runs.config_file import read_json
from jaxmeta.runs.signature import NAME, provenance_of, volumes_of
from jaxmeta.splits.split import some_of
from jaxmeta.training import metrics_log

NAMES_TOLD = 8  # names in a sentence


def today() -> str:
    """Give the date on which a report is written."""
    return datetime.date.today().isoformat()


def data_sets(scores: Sequence[Score]) -> str:
    """Name the data sets that were tested, with their patients."""
    patients = {}
    for score in scores:
        patients.setdefault(score.case.partition("/")[0], set()).add((score.cohort, score.patient))
    return ", ".join(
        f"{name} ({amount(len(own), 'patient')})" for name, own in sorted(patients.items())
    )


def by_patient(scores: Sequence[Score], row: str = METHOD) -> list[list[str]]:
    """Write a row's mean Dice of every patient and organ, over supports and scans; the lowest
    first.

    The last column is the mean over the patient's organs, by which they are sorted.
    """
    values: dict[tuple[str, str], dict[str, list[float]]] = {}
    for score in scores:
        if score.row == row and not math.isnan(score.dice):
            own = values.setdefault((score.cohort, score.patient), {})
            own.setdefault(score.organ, []).append(score.dice)
    organs = sorted({organ for own in values.values() for organ in own})
    means = {
        of: {o: sum(each) / len(each) for o, each in own.items()} for of, own in values.items()
    }
    over = {of: sum(own.values()) / len(own) for of, own in means.items()}
    rows = [
        [of[1], *(figures.number(means[of][o]) if o in means[of] else "" for o in organs)]
        + [figures.number(over[of])] * (len(organs) > 1)
        for of in sorted(over, key=lambda of: (over[of], of))
    ]
    return [["Dice by patient", *organs, *["mean"] * (len(organs) > 1)], *rows]


def training(outcome: Outcome) -> str:
    """Say in a sentence or two on what a run was trained, for how long, and how its checkpoint was
    chosen."""
    path = outcome.folder / "config.json"
    if not path.exists():
        return (
            f"How {outcome.folder} was trained is not told: its config.json is not there any more."
        )
    config = read_json(path)["config"]
    if not config["steps"]:
        return f"{outcome.folder} was not trained: everything is learned from each support alone."
    of = (
        "supervoxels"
        if config["tasks"].get("kind") == "supervoxels"
        else outcome.split.train_organs
    )
    learned = of if isinstance(of, str) else some_of(of, NAMES_TOLD)
    if config["tasks"].get("kind") == "synthetic":
        source = "synthetic cohorts, of no scan"
    else:
        patients, sets = learned_from(outcome, config.get("structures", ()))
        source = f"{learned} in {patients} patients of {some_of(sets, NAMES_TOLD)}"
    lines = metrics_log.read_metrics(outcome.folder / "metrics.jsonl")
    begun = f", begun with {config['init_from']}," if config["init_from"] != "random" else ""
    return (
        f"{outcome.folder}{begun} learned from {source}: {config['steps']} steps of "
        f"{config['tasks']['batch_size']} tasks{took(lines)}. {chosen_step(outcome, lines)}"
    )


def learned_from(outcome: Outcome, structures: Sequence[str]) -> tuple[int, list[str]]:
    """Count the patients that a run learned from, and name their data sets: those of `structures`.

    A patient's name does not tell their data set, for one person may be in several; what the run
    remembers of its volumes does. Others of the split's training patients are there to validate.
    """
    sets, split = {name.partition("/")[0] for name in structures}, set(outcome.split.train_patients)
    if not (
        outcome.folder / NAME
    ).exists():  # of a version that knew no person of several data sets
        named = {name for name in split if name.partition("/")[0] in sets}
        return len(named or split), sorted(sets)
    own, used = provenance_of(outcome.folder)[0], []
    for name, (patient, scan, _) in volumes_of(outcome.folder).items():
        data_set = name.partition("/")[0]
        if data_set in sets and patient in split and (scan in own.contents or not scan):
            used.append((patient, data_set))
    return len({patient for patient, _ in used}), sorted({data_set for _, data_set in used})


def took(lines: Sequence[dict]) -> str:
    """Say how long the steps took, where that was kept."""
    seconds = sum(line.get("seconds", 0.0) for line in lines)
    return f" in {minutes(seconds)}" if seconds else ""


def chosen_step(outcome: Outcome, lines: Sequence[dict]) -> str:
    """Say which step is tested, and why."""
    scores = {line["step"]: line["validation_dice"] for line in lines if "validation_dice" in line}
    if outcome.step not in scores:
        return f"Step {outcome.step}, the last, is tested: no validation organ chose another."
    dice, organs = (
        figures.number(scores[outcome.step]),
        some_of(outcome.split.val_organs, NAMES_TOLD),
    )
    return (
        f"Step {outcome.step} is tested: of {len(scores)} it had the highest Dice, {dice}, on the "
        f"validation organ{'s' * (len(outcome.split.val_organs) != 1)} {organs}."
    )
