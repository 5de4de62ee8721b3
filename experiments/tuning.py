"""Which setting each row of a test fine-tunes with, chosen on validation organs.

A search tries the same grid of optimiser, rate and steps for the method, for scratch and for
transfer, and widens it while a winner lies at its edge. What it finds is kept in RUN/tuning.json with
every score it saw. Without a search, the settings shipped here are used.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tqdm import tqdm

from experiments.rows import OWN, Run, row_maker
from jaxmeta.compare import row_mean
from jaxmeta.data.shards import open_shards
from jaxmeta.errors import BadInput
from jaxmeta.evaluate import Row, score
from jaxmeta.finetune import GRID, Finetune, Found, Grid, search
from jaxmeta.report import write_summary
from jaxmeta.tasks.split import pool
from jaxmeta.tasks.trial import Trial, trials

OWN_STEPS = (5, 10, 20, 40, 80)
DRAWS, VOLUMES = 2, 4  # supports and query volumes of each validation organ in a search

# Scratch where no search was made, by shots: a plain choice, not yet one of `meta_test --tune`.
SHIPPED = {1: Finetune("adam", 1e-2, 100), 5: Finetune("adam", 1e-2, 100)}


class Setting(NamedTuple):
    """A row's fine-tuning, and where it comes from."""

    finetune: Finetune
    source: str
    edges: tuple[str, ...] = ()


def describe(setting: Setting) -> str:
    """Write a setting in words, with a warning where a search could not leave the grid's edge."""
    optimiser, rate, steps = setting.finetune
    how = "its own rule" if optimiser == OWN else f"{optimiser}, rate {rate:g}"
    warning = f"; AT THE GRID'S EDGE: {', '.join(setting.edges)}" if setting.edges else ""
    return f"{how}, {steps} steps ({setting.source}{warning})"


def settings_for(run: Run, shots: int, found: Mapping[str, Setting]) -> dict[str, Setting]:
    """Take what a search found; what none did is the preset's own for the method, else shipped."""
    own = Finetune(OWN, 1.0, run.config.inner.test_steps)
    nearest = min(SHIPPED, key=lambda known: abs(known - shots))
    shipped = Setting(SHIPPED[nearest], "shipped, not searched; --tune searches")
    return {"adapted": Setting(own, "the preset's"), "scratch": shipped} | dict(found)


def search_settings(
    run: Run, shots: int, transfer: Run | None, *, patients: int = 1, show: bool = False
) -> dict[str, Setting]:
    """Search all settings for a number of shots, keep them beside the run, and return them."""
    validating = pool(open_shards(run.config.data), run.split, "val")
    asked = trials(
        validating,
        shots=shots,
        draws=DRAWS,
        patients=patients,
        size=run.config.tasks.size,
        mm=run.config.tasks.spacing,
        seed=run.config.seed,
        most=VOLUMES + patients,  # one or more of them lend the support
    )
    make = row_maker(run, DRAWS, transfer)
    kinds = ["adapted", "scratch"] + (["transfer"] if transfer else [])
    bar = tqdm(desc=f"tuning at {shots} shots", unit="setting", disable=None if show else True)
    found, grid = tune(make, asked, kinds, GRID, own_steps=OWN_STEPS, tick=bar.update)
    bar.close()
    save(run.folder, shots, found, grid)
    return read(run.folder, shots)


def tune(
    make: Callable[..., Row],
    asked: Sequence[Trial],
    kinds: Sequence[str],
    grid: Grid,
    *,
    own_steps: Sequence[int],
    tick: Callable[[], object] = lambda: None,
) -> tuple[dict[str, Found], Grid]:
    """Choose each kind's setting by its Dice on the trials: one grid for all.

    The method may also follow its own rule, for any of `own_steps`. The baselines are then tuned
    once more at just as many steps as the method chose: "scratch, same steps".
    """

    def competitor(kind: str) -> Callable[[Finetune], float]:
        @functools.cache
        def scored(setting: Finetune) -> float:
            row = make(kind, kind, setting)
            cases = [case for trial in asked for case, _, _ in score([row], trial)]
            tick()
            return row_mean(cases)[0].mean

        return scored

    competitors = {kind: competitor(kind) for kind in kinds}
    found, grid = search(competitors, grid)
    found["adapted"] = with_own_rule(found["adapted"], competitors.pop("adapted"), own_steps)
    steps = found["adapted"].winner.steps
    same, _ = search(competitors, Grid(grid.rates, (steps,)), rounds=1)
    for kind, each in same.items():
        sides = tuple(side for side in each.edges if side.endswith("rate"))
        found[f"{kind}, same steps"] = each._replace(edges=sides)
    return found, grid


def with_own_rule(found: Found, scored: Callable[[Finetune], float], steps: Sequence[int]) -> Found:
    """Let the method's own rule compete with what the grid found for it."""
    own = {setting: scored(setting) for setting in (Finetune(OWN, 1.0, n) for n in steps)}
    best = max(own, key=own.get)
    if own[best] < found.scores[found.winner]:
        return found._replace(scores=found.scores | own)
    return Found(best, found.scores | own, ("most steps",) if best.steps == max(steps) else ())


def save(folder: Path, shots: int, found: Mapping[str, Found], grid: Grid) -> None:
    """Keep what a search found beside the run, every score it saw included."""
    known = stored(folder)
    known[str(shots)] = {
        "grid": grid,
        "found": {
            kind: {
                "winner": each.winner,
                "edges": each.edges,
                "scores": [[*setting, value] for setting, value in each.scores.items()],
            }
            for kind, each in found.items()
        },
    }
    write_summary(folder / "tuning.json", known)


def read(folder: Path, shots: int) -> dict[str, Setting]:
    """Read what an earlier search chose for this number of shots; empty where there was none."""
    found = stored(folder).get(str(shots), {}).get("found", {})
    return {
        kind: Setting(
            Finetune(**each["winner"]),
            f"chosen on validation organs of {folder}",
            tuple(each["edges"]),
        )
        for kind, each in found.items()
    }


def method_setting(run: Run, shots: int) -> Setting:
    """Choose how the method adapts to any number of slices: as the nearest search on file found."""
    searched = [int(known) for known in stored(run.folder)]
    nearest = min(searched, key=lambda known: abs(known - shots), default=shots)
    return settings_for(run, shots, read(run.folder, nearest))["adapted"]


def stored(folder: Path) -> dict:
    """Read all that was ever found for a run."""
    path = folder / "tuning.json"
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text())
    except ValueError:
        raise BadInput(f"{path}: not JSON; remove it and search again with --tune") from None
