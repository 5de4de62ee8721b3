"""Searches on validation organs for how each row of a test should fine-tune.

A search tries the same grid of optimizer, rate and steps for the method, for scratch and for
transfer (of a method whose rows all follow its own rule: of steps and multiples of its rate, for it
and from a random beginning), and widens it while a winner lies at its edge. What it finds is kept
by `settings.py`; a search that was interrupted goes on from RUN/tuning-*.jsonl.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

from jaxmeta.data.names import amount
from jaxmeta.evaluation.baselines import random_row
from jaxmeta.evaluation.comparison import row_mean
from jaxmeta.evaluation.finetune import MOST_STEPS, Finetune, Tuned, search
from jaxmeta.evaluation.fitting import segmenter_maker
from jaxmeta.evaluation.leaks import searched_on
from jaxmeta.evaluation.protocol import Conditions, Protocol, request_of
from jaxmeta.evaluation.protocols import few_shot, within_volume
from jaxmeta.evaluation.protocols.within_volume import Within
from jaxmeta.evaluation.scoring import score_volumes
from jaxmeta.evaluation.segmenter import Segmenter
from jaxmeta.evaluation.settings import read_tuned, save, searched_by, stored, which
from jaxmeta.evaluation.trial import Trial
from jaxmeta.files import beside
from jaxmeta.methods import method_of
from jaxmeta.methods.testing import OWN, Grid, Grids
from jaxmeta.numerics import rank
from jaxmeta.progress import following, say, slow_start
from jaxmeta.runs.build import open_data
from jaxmeta.runs.run import Run
from jaxmeta.runs.signature import run_identity
from jaxmeta.splits.pool import Pool, pool

PROBE = Finetune("adam", 3e-3, 100)  # compares pre-trainings before the search tunes the better one
SUPPORT_SETS, VOLUMES = 2, 4  # supports and query volumes of each validation organ in a search


def search_settings(
    run: Run, shots: int, transfer: Run | None, conditions: Conditions = Conditions()
) -> dict[str, Tuned]:
    """Search all settings for a number of shots, keep them beside the run, and return them."""
    asked = validation_trials(run, shots, conditions)
    support_sets, protocol = asking(conditions)
    make = segmenter_maker(run, support_sets, transfer)
    method = method_of(run.config.method)
    kinds = ["adapted"] * method.adapts + [random_row(method)]
    kinds += ["transfer"] if transfer else []
    name = searched_by(run, shots, conditions)
    path = progress(run.folder, name)
    seen = resumed(path, head_of(run, asked, transfer, conditions))

    def tell(kind: str, setting: Finetune, dice: float) -> None:
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([kind, *setting, dice]) + "\n")
        optimizer, rate, steps = setting
        say(f"{kind}, {optimizer} {rate:g} x {steps}: Dice {dice:.3f}")
        further(more=1)

    how = method.testing.search_space(run.config.method, shots)._asdict()
    scored = partial(mean_dice, scored=protocol.score)
    what = f"tuning at {amount(shots, 'shot')}"
    first = f"{what} on validation organs: a line a setting; {slow_start()}"
    with following(what, "setting", first=first) as further:
        found, grids = tune(make, asked, kinds, seen=seen, tell=tell, scored=scored, **how)
    looked_at = searched_on(run, validation_pool(run))
    theirs = transfer.provenance if transfer else ()
    save(run.folder, name, found, grids, which(transfer), looked_at, theirs)
    path.unlink()
    return read_tuned(run.folder, name, transfer)


def head_of(
    run: Run, asked: Sequence[Trial | Within], transfer: Run | None, conditions: Conditions
) -> dict:
    """Say whose search it is and what it asks: an interrupted one goes on only where all of it is
    the same."""
    told = {
        "of": run_identity(run.folder),
        "step": run.step,
        "supports": list(map(shown_by_support, asked)),
    }
    return told | {"transfer": which(transfer), "largest_component": conditions.largest_component}


def asking(conditions: Conditions) -> tuple[int, Protocol]:
    """Say how many supports a search adapts to in one call, and by which protocol it asks."""
    if conditions.neighbors:
        return within_volume.AT_ONCE, within_volume.PROTOCOL
    return SUPPORT_SETS, few_shot.PROTOCOL


def validation_trials(run: Run, shots: int, conditions: Conditions) -> Sequence[Trial | Within]:
    """Make the trials that choose settings: a few supports and volumes of each validation organ."""
    support_sets, protocol = asking(conditions)
    # one or more of few-shot's query volumes give the support
    most = VOLUMES if conditions.neighbors else VOLUMES + conditions.patients
    how = dict(conditions=conditions, support_sets=support_sets, seed=run.config.seed, most=most)
    request = request_of(run.config, shots, **how)
    return protocol.trials(validation_pool(run), request)


def validation_pool(run: Run) -> Pool:
    """Gather what a search may ask about."""
    return pool(open_data(run.config), run.split, "val")


def shown_by_support(trial: Trial | Within) -> list[str] | str:
    """Tell the slices that a trial's first support has, or which volumes' own slices give."""
    if isinstance(trial, Within):
        return f"{trial.dataset}/{trial.organ}, {len(trial.queries)} volumes"
    return list(trial.supports[0].slices)


def better(
    run: Run, transfers: Sequence[Run], shots: int, conditions: Conditions, *, anew: bool = False
) -> Run:
    """Choose a pre-training by how well it fine-tunes to validation organs.

    The one that an earlier search tuned is taken at once, unless all is to be searched `anew`, and
    so is the only one.
    """
    if len(transfers) == 1:
        return transfers[0]
    known = {} if anew else stored(run.folder)
    tuned = known.get(searched_by(run, shots, conditions), {}).get("transfer")
    for transfer in transfers:
        if tuned == which(transfer):
            return transfer
    asked = validation_trials(run, shots, conditions)
    support_sets, protocol = asking(conditions)

    def dice(transfer: Run) -> float:
        segmenter = segmenter_maker(run, support_sets, transfer)("transfer", "transfer", PROBE)
        return mean_dice(segmenter, asked, protocol.score)

    first = f"comparing {len(transfers)} pre-trainings on validation organs; {slow_start()}"
    with following("comparing", "pre-training", len(transfers), first=first) as tell:
        scores = []
        for transfer in transfers:
            scores.append(dice(transfer))
            tell(more=1, note=transfer.folder.name)
    for transfer, value in zip(transfers, scores, strict=True):
        say(f"{transfer.folder.name}: Dice {value:.3f} on validation organs")
    return transfers[max(range(len(scores)), key=lambda n: rank(scores[n]))]


def mean_dice(
    segmenter: Segmenter,
    asked: Sequence[Trial | Within],
    scored: Callable[..., Iterator] = score_volumes,
) -> float:
    """Average the Dice of a segmenter on trials."""
    return row_mean([score for trial in asked for score, _, _ in scored([segmenter], trial)])[
        0
    ].mean


def resumed(path: Path, told: dict) -> dict[tuple[str, Finetune], float]:
    """Read the scores of an interrupted search that asked the same; else begin its file anew.

    The first line says what was asked, each other one a kind, a setting and its Dice. A last line
    that was cut off is dropped.
    """
    head = json.dumps(told)
    lines = path.read_text("utf-8").split("\n")[:-1] if path.exists() else []
    lines = lines if lines and lines[0] == head else [head]
    with beside(path) as part:
        part.write_text("".join(line + "\n" for line in lines), "utf-8")
    seen = [json.loads(line) for line in lines[1:]]
    return {(kind, Finetune(*setting)): dice for kind, *setting, dice in seen}


def tune(
    make: Callable[..., Segmenter],
    asked: Sequence[Trial | Within],
    kinds: Sequence[str],
    *,
    grids: Grids,
    own_steps: Sequence[int],
    most: int = MOST_STEPS,
    seen: Mapping[tuple[str, Finetune], float] = {},
    tell: Callable[[str, Finetune, float], None] = lambda *told: None,
    scored: Callable[[Segmenter, Sequence[Trial | Within]], float] = mean_dice,
) -> tuple[dict[str, Tuned], Grids]:
    """Choose each kind's setting by its Dice on the trials: one grid for all.

    The method may also follow its own rule, for any of `own_steps`, if there are. The baselines are
    then tuned once more at just as many steps as the method chose: "scratch, same steps". Scores
    that were `seen` before are not computed again; each new one is told.
    """
    scores = dict(seen)

    def competitor(kind: str) -> Callable[[Finetune], float]:
        def remembered(setting: Finetune) -> float:
            if (kind, setting) not in scores:
                scores[kind, setting] = scored(make(kind, kind, setting), asked)
                tell(kind, setting, scores[kind, setting])
            return scores[kind, setting]

        return remembered

    competitors = {kind: competitor(kind) for kind in kinds}
    found, grids = search(competitors, grids, most=most)
    if "adapted" not in competitors or not own_steps:  # nothing is fine-tuned; or in no other way
        return found, grids
    adapted = competitors.pop("adapted")
    found["adapted"] = with_own_rule(found["adapted"], adapted, own_steps, most=most)
    steps = found["adapted"].finetune.steps
    given = {optimizer: Grid(grid.rates, (steps,)) for optimizer, grid in grids.items()}
    same, _ = search(competitors, given)
    return found | {f"{kind}, same steps": each for kind, each in same.items()}, grids


def with_own_rule(
    found: Tuned,
    scored: Callable[[Finetune], float],
    steps: Sequence[int],
    *,
    most: int = MOST_STEPS,
) -> Tuned:
    """Let the method's own rule compete with what the grid found for it, for any of these steps."""
    own = search({OWN: scored}, {OWN: Grid((1.0,), tuple(steps))}, most=most)[0][OWN]
    scores = found.scores | own.scores
    wins = rank(own.scores[own.finetune]) >= rank(found.scores[found.finetune])
    return (own if wins else found)._replace(scores=scores)


def progress(folder: Path, name: str) -> Path:
    """Name the file that an unfinished search of this name goes on from."""
    return folder / f"tuning-{name.replace(', ', '-').replace(' ', '-')}.jsonl"
