"""Which setting each row of a test fine-tunes with, chosen on validation organs.

A search tries the same grid of optimiser, rate and steps for the method, for scratch and for
transfer (of SSM-SAM: of steps and multiples of its rate, for it and for fresh readers), and widens it
while a winner lies at its edge. What it finds is kept in RUN/tuning.json with
every score it saw; a search that was interrupted goes on from RUN/tuning-*.jsonl. Without a
search, the settings shipped here are used.
"""

import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from experiments.build import open_data
from experiments.configs import Config
from experiments.rows import FRESH, OWN, fine_tunes, row_maker
from experiments.runs import Run
from jaxmeta.compare import row_mean
from jaxmeta.errors import BadInput
from jaxmeta.evaluate import Row, score
from jaxmeta.files import beside, write_json
from jaxmeta.finetune import (
    BY_SLICE,
    GRIDS,
    GRIDS_BY_SLICE,
    MOST_STEPS,
    Finetune,
    Found,
    Grid,
    Grids,
    search,
)
from jaxmeta.tasks.split import pool
from jaxmeta.tasks.trial import Trial, trials
from jaxmeta.tasks.trial_within import Within, trials_within
from jaxmeta.within import DRAWS as DRAWS_WITHIN
from jaxmeta.within import score_within

OWN_STEPS, OWN_PASSES = (5, 10, 20, 40, 80), (5, 10, 20)
PROBE = Finetune("adam", 3e-3, 100)  # compares pre-trainings before the search tunes the better one
MOST_SLICES = 4500  # that a fine-tuning of a widened grid sees: 900 steps of 5, or 4500 of 1
MOST_PASSES = 60  # of one that goes slice by slice, with a step for each
DRAWS, VOLUMES = 2, 4  # supports and query volumes of each validation organ in a search
OWN_GRID = Grid((0.3, 1.0, 3.0), (10, 20, 40))  # of SSM-SAM: multiples of its own rate
MOST_OWN = 120  # steps of its own rule

# Scratch where no search was made, by shots: what `meta_test --shots 5 1 --baselines all` of
# `meta_train --seed 11` chose on the validation organs of its phantoms.
SHIPPED = {1: Finetune("sgd", 1.0, 900), 5: Finetune("sgd", 1.0, 100)}


class Protocol(NamedTuple):
    """How a test asks, and so a search that chooses its settings."""

    patients: int = 1  # who lend the slices of a support
    largest_piece: bool = False  # all that is kept of each mask
    within: int | None = None  # of how many neighbours one is labelled, in tests within volumes


class Setting(NamedTuple):
    """A row's fine-tuning, and where it comes from."""

    finetune: Finetune
    source: str
    edges: tuple[str, ...] = ()


def describe(setting: Setting) -> str:
    """Write a setting in words, with a warning where a search could not leave the grid's edge."""
    optimiser, rate, steps = setting.finetune
    how = "its own rule" if optimiser == OWN else f"{optimiser}, rate {rate:g}"
    how += f", {rate:g} times its rate" if optimiser == OWN and rate != 1 else ""
    unit = "passes" if optimiser == BY_SLICE else "steps"
    how += f", {steps} {unit}" if steps else ""
    warning = f"; AT THE GRID'S EDGE: {', '.join(setting.edges)}" if setting.edges else ""
    return f"{how} ({setting.source}{warning})"


def settings_for(run: Run, shots: int, found: Mapping[str, Setting]) -> dict[str, Setting]:
    """Take what a search found; what none did is the preset's own for the method, else shipped."""
    own = Finetune(OWN, 1.0, run.config.inner.test_steps or 0)
    if run.config.algorithm == "ssm-sam":
        rows = dict.fromkeys(("adapted", FRESH), Setting(own, "the preset's"))
        return rows | {row: each for row, each in found.items() if row in rows}
    nearest = min(SHIPPED, key=lambda known: abs(known - shots))
    shipped = Setting(
        SHIPPED[nearest], "shipped: chosen on validation organs of phantoms; --tune searches"
    )
    if run.config.network.kind != "unet":
        shipped = shipped._replace(
            source="shipped for another network, so UNTUNED; --tune searches"
        )
    return {"adapted": Setting(own, "the preset's"), "scratch": shipped} | dict(found)


def search_settings(
    run: Run, shots: int, transfer: Run | None, protocol: Protocol = Protocol()
) -> dict[str, Setting]:
    """Search all settings for a number of shots, keep them beside the run, and return them."""
    asked = validation_trials(run, shots, protocol)
    draws, scored = asking(protocol)
    make = row_maker(run, draws, transfer)
    prompted = run.config.algorithm == "ssm-sam"
    kinds = (["adapted"] if fine_tunes(run.config) else []) + [FRESH if prompted else "scratch"]
    kinds += ["transfer"] if transfer else []
    name = searched_by(run, shots, protocol)
    path = progress(run.folder, name)
    told = {"step": run.step, "supports": list(map(lenders, asked))}
    told |= {"transfer": which(transfer), "largest_piece": protocol.largest_piece}
    seen = resumed(path, told)
    bar = tqdm(desc=f"tuning at {shots} shots", unit="setting", disable=None)

    def tell(kind: str, setting: Finetune, dice: float) -> None:
        with path.open("a") as file:
            file.write(json.dumps([kind, *setting, dice]) + "\n")
        optimiser, rate, steps = setting
        bar.write(f"{kind}, {optimiser} {rate:g} x {steps}: Dice {dice:.3f}", file=sys.stdout)
        bar.update()

    if prompted:  # whose rows all follow its own rule, at multiples of its rate
        how = {"grids": grids_of_own(run.config), "own_steps": (), "most": MOST_OWN}
    elif (
        run.config.algorithm == "metamedseg"
    ):  # which goes slice by slice, so its baselines may too
        how = {"grids": GRIDS_BY_SLICE, "own_steps": OWN_PASSES, "most": MOST_PASSES}
    else:
        how = {"grids": GRIDS, "own_steps": OWN_STEPS, "most": MOST_SLICES // shots}
    scored = partial(mean_dice, scored=scored)
    found, grids = tune(make, asked, kinds, seen=seen, tell=tell, scored=scored, **how)
    bar.close()
    save(run.folder, name, found, grids, which(transfer))
    path.unlink()
    return read(run.folder, name, transfer)


def asking(protocol: Protocol) -> tuple[int, Callable[..., Iterator]]:
    """Say how many supports the trials of a search give at once, and what scores a row on them."""
    return (DRAWS_WITHIN, score_within) if protocol.within else (DRAWS, score)


def grids_of_own(config: Config) -> Grids:
    """Make the grid of SSM-SAM: multiples of the rate of its own rule, and steps, its own among them."""
    steps = {*OWN_GRID.steps, config.inner.test_steps}
    return {OWN: OWN_GRID._replace(steps=tuple(sorted(steps)))}


def which(transfer: Run | None) -> list | None:
    """Tell one pre-training from another."""
    return [transfer.folder.name, transfer.step] if transfer else None


def validation_trials(
    run: Run, shots: int, protocol: Protocol
) -> tuple[Trial, ...] | tuple[Within, ...]:
    """Make the trials that choose settings: a few supports and volumes of each validation organ."""
    validation = pool(open_data(run.config), run.split, "val")
    read = dict(size=run.config.tasks.size, mm=run.config.tasks.spacing)
    if protocol.within:
        made = trials_within(validation, width=protocol.within, **read)
        return tuple(trial._replace(queries=trial.queries[:VOLUMES]) for trial in made)
    return trials(
        validation,
        shots=shots,
        draws=DRAWS,
        patients=protocol.patients,
        seed=run.config.seed,
        most=VOLUMES + protocol.patients,  # one or more of them lend the support
        largest_piece=protocol.largest_piece,
        **read,
    )


def lenders(trial: Trial | Within) -> list[str] | str:
    """Tell the slices that a trial's first support has, or which volumes' own slices lend."""
    if isinstance(trial, Within):
        return f"{trial.dataset}/{trial.organ}, {len(trial.queries)} volumes"
    return list(trial.supports[0].slices)


def better(
    run: Run, transfers: Sequence[Run], shots: int, protocol: Protocol, *, anew: bool = False
) -> Run:
    """Choose a pre-training by how well it fine-tunes to validation organs.

    The one that an earlier search tuned is taken at once, unless all is to be searched `anew`, and so
    is the only one.
    """
    if len(transfers) == 1:
        return transfers[0]
    tuned = stored(run.folder).get(searched_by(run, shots, protocol), {}).get("transfer")
    for transfer in transfers:
        if tuned == which(transfer) and not anew:
            return transfer
    asked = validation_trials(run, shots, protocol)
    draws, scored = asking(protocol)

    def dice(transfer: Run) -> float:
        row = row_maker(run, draws, transfer)("transfer", "transfer", PROBE)
        return mean_dice(row, asked, scored)

    scores = [dice(transfer) for transfer in transfers]
    for transfer, value in zip(transfers, scores, strict=True):
        print(f"{transfer.folder.name}: Dice {value:.3f} on validation organs")
    return transfers[scores.index(max(scores))]


def mean_dice(
    row: Row, asked: Sequence[Trial | Within], scored: Callable[..., Iterator] = score
) -> float:
    """Score a row on trials."""
    return row_mean([case for trial in asked for case, _, _ in scored([row], trial)])[0].mean


def resumed(path: Path, told: dict) -> dict[tuple[str, Finetune], float]:
    """Read the scores of an interrupted search that asked the same; else begin its file anew.

    The first line says what was asked, each other one a kind, a setting and its Dice. A last line
    that was cut off is dropped.
    """
    head = json.dumps(told)
    lines = path.read_text().split("\n")[:-1] if path.exists() else []
    lines = lines if lines and lines[0] == head else [head]
    with beside(path) as part:
        part.write_text("".join(line + "\n" for line in lines))
    seen = [json.loads(line) for line in lines[1:]]
    return {(kind, Finetune(*setting)): dice for kind, *setting, dice in seen}


def tune(
    make: Callable[..., Row],
    asked: Sequence[Trial],
    kinds: Sequence[str],
    *,
    grids: Grids,
    own_steps: Sequence[int],
    most: int = MOST_STEPS,
    seen: Mapping[tuple[str, Finetune], float] = {},
    tell: Callable[[str, Finetune, float], None] = lambda *score: None,
    scored: Callable[[Row, Sequence[Trial | Within]], float] = mean_dice,
) -> tuple[dict[str, Found], Grids]:
    """Choose each kind's setting by its Dice on the trials: one grid for all.

    The method may also follow its own rule, for any of `own_steps`, if there are. The baselines are then
    tuned once more at just as many steps as the method chose: "scratch, same steps". Scores that were
    `seen` before are not computed again; each new one is told.
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
    steps = found["adapted"].winner.steps
    given = {optimiser: Grid(grid.rates, (steps,)) for optimiser, grid in grids.items()}
    same, _ = search(competitors, given)
    return found | {f"{kind}, same steps": each for kind, each in same.items()}, grids


def with_own_rule(
    found: Found,
    scored: Callable[[Finetune], float],
    steps: Sequence[int],
    *,
    most: int = MOST_STEPS,
) -> Found:
    """Let the method's own rule compete with what the grid found for it, for any of these steps."""
    own = search({OWN: scored}, {OWN: Grid((1.0,), tuple(steps))}, most=most)[0][OWN]
    scores = found.scores | own.scores
    wins = own.scores[own.winner] >= found.scores[found.winner]
    return (own if wins else found)._replace(scores=scores)


def searched_as(shots: int, protocol: Protocol, prompt: str | None = None) -> str:
    """Name a search in RUN/tuning.json."""
    parts = {
        f"{shots}": True,
        "largest piece": protocol.largest_piece,
        f"within {protocol.within}": protocol.within,
        "no points": prompt == "none",
    }
    return ", ".join(part for part, there in parts.items() if there)


def searched_by(run: Run, shots: int, protocol: Protocol) -> str:
    """Name the search of a run's settings."""
    prompted = run.config.algorithm == "ssm-sam"
    return searched_as(shots, protocol, run.config.prompted.prompt if prompted else None)


def progress(folder: Path, name: str) -> Path:
    """Name the file that an unfinished search of this name goes on from."""
    return folder / f"tuning-{name.replace(', ', '-').replace(' ', '-')}.jsonl"


def save(
    folder: Path, name: str, found: Mapping[str, Found], grids: Grids, transfer: list | None
) -> None:
    """Keep what a search found beside the run, every score it saw included."""
    known = stored(folder)
    known[name] = {
        "grids": {optimiser: grid._asdict() for optimiser, grid in grids.items()},
        "transfer": transfer,
        "found": {
            kind: {
                "winner": each.winner,
                "edges": each.edges,
                "scores": [[*setting, value] for setting, value in each.scores.items()],
            }
            for kind, each in found.items()
        },
    }
    write_json(folder / "tuning.json", known)


def read(folder: Path, name: str, transfer: Run | None = None) -> dict[str, Setting]:
    """Read what an earlier search of this name chose; empty where there was none.

    What it chose for another pre-training than `transfer` is left out.
    """
    kept = stored(folder).get(name, {})
    found = kept.get("found", {})
    if transfer and kept.get("transfer") != which(transfer):
        found = {kind: each for kind, each in found.items() if not kind.startswith("transfer")}
    return {
        kind: Setting(
            Finetune(**each["winner"]),
            f"chosen on validation organs of {folder}",
            tuple(each["edges"]),
        )
        for kind, each in found.items()
    }


def method_setting(run: Run, shots: int, protocol: Protocol) -> Setting:
    """Choose how the method adapts to any number of slices: as the nearest search on file found.

    One that kept the same of each mask, and gave the same prompt, is nearer than any other; those within
    volumes asked something else.
    """

    def distance(name: str) -> tuple[bool, int]:
        few = int(name.partition(",")[0])
        return name != searched_by(run, few, protocol), abs(few - shots)

    known = [name for name in stored(run.folder) if "within" not in name]
    name = min(known, key=distance, default=searched_by(run, shots, protocol))
    return settings_for(run, shots, read(run.folder, name))["adapted"]


def stored(folder: Path) -> dict:
    """Read all that was ever found for a run."""
    path = folder / "tuning.json"
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise BadInput(f"{path}: not JSON; remove it and search again with --tune") from None
