"""How each row of a test fine-tunes: as its preset says, as shipped, or as a search found.

What searches (`tuning.py`) found is kept in RUN/tuning.json, by the number of slices and by how the
test asks, with every score they saw.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

from jaxmeta.errors import BadInput
from jaxmeta.evaluation.baselines import METHOD, SCRATCH, random_row
from jaxmeta.evaluation.finetune import Finetune, Tuned
from jaxmeta.evaluation.protocol import Conditions
from jaxmeta.files import write_json
from jaxmeta.methods import method_of
from jaxmeta.methods.networks import network_of
from jaxmeta.methods.testing import BY_SLICE, OWN, Grids
from jaxmeta.runs.provenance import Seen
from jaxmeta.runs.run import Run
from jaxmeta.runs.signature import run_identity

# Scratch where no search was made, by shots: what a test at 5 and at 1 shots with all baselines, of
# the default run of seed 11, chose on the validation organs of its phantoms.
SHIPPED = {1: Finetune("sgd", 1.0, 900), 5: Finetune("sgd", 1.0, 100)}


def describe_tuning(tuned: Tuned) -> str:
    """Write how a row is tuned, with a warning where a search could not leave the grid's edge."""
    optimizer, rate, steps = tuned.finetune
    how = "its own rule" if optimizer == OWN else f"{optimizer}, rate {rate:g}"
    how += f", {rate:g} times its rate" if optimizer == OWN and rate != 1 else ""
    unit = "passes" if optimizer == BY_SLICE else "steps"
    how += f", {steps} {unit}" if steps else ""
    warning = f"; AT THE GRID'S EDGE: {', '.join(tuned.edges)}" if tuned.edges else ""
    return f"{how} ({tuned.source}{warning})"


def settings_for(run: Run, shots: int, found: Mapping[str, Tuned]) -> dict[str, Tuned]:
    """Take what a search found; what none did is the preset's own for the method, else shipped."""
    config, method = run.config, method_of(run.config.method)
    own = Finetune(OWN, 1.0, method.steps(config.method))
    if method.testing.own_rule:
        rows = dict.fromkeys((METHOD, random_row(method)), Tuned(own, "the preset's"))
        return rows | {row: each for row, each in found.items() if row in rows}
    nearest = min(SHIPPED, key=lambda known: abs(known - shots))
    shipped = Tuned(
        SHIPPED[nearest],
        "shipped: chosen on validation organs of phantoms; the option tune searches",
    )
    if not network_of(config).shipped:
        shipped = shipped._replace(
            source="shipped for another network, so UNTUNED; the option tune searches"
        )
    return {METHOD: Tuned(own, "the preset's"), SCRATCH: shipped} | dict(found)


def method_setting(run: Run, shots: int, conditions: Conditions) -> Tuned:
    """Choose how the method adapts to any number of slices: as the nearest search on file found.

    One that kept the same of each mask, and gave the same prompt, is nearer than any other; those
    within volumes asked something else.
    """

    def distance(name: str) -> tuple[bool, int]:
        few = int(name.partition(",")[0])
        return name != searched_by(run, few, conditions), abs(few - shots)

    known = [name for name in stored(run.folder) if "within" not in name]
    name = min(known, key=distance, default=searched_by(run, shots, conditions))
    return settings_for(run, shots, read_tuned(run.folder, name))["adapted"]


def searched_as(shots: int, conditions: Conditions, prompt: str = "") -> str:
    """Name a search in RUN/tuning.json, where the largest component is called piece."""
    parts = {
        f"{shots}": True,
        f"{conditions.patients} patients": conditions.patients > 1,
        "largest piece": conditions.largest_component,
        f"within {conditions.neighbors}": conditions.neighbors,
        prompt: prompt,
    }
    return ", ".join(part for part, there in parts.items() if there)


def searched_by(run: Run, shots: int, conditions: Conditions) -> str:
    """Name the search of a run's settings."""
    own = run.config.method
    return searched_as(shots, conditions, method_of(own).testing.searched_as(own))


def save(
    folder: Path,
    name: str,
    found: Mapping[str, Tuned],
    grids: Grids,
    transfer: list | None,
    seen: Seen | None = None,
    transfer_seen: Iterable[Seen] = (),
) -> None:
    """Keep what a search found beside the run, with every score, what it has `seen`, and whose it
    is; of the transfer run that it tuned, too, what that has seen.

    Searches of another run, or of an earlier checkpoint, are dropped.
    """
    own = run_identity(folder)
    known = {k: v for k, v in unread(folder).items() if v.get("of", own) == own}
    known[name] = ({"of": own} if own else {}) | ({"seen": seen._asdict()} if seen else {})
    known[name] |= {
        "transfer_seen": [each._asdict() for each in transfer_seen],
        "grids": {optimizer: grid._asdict() for optimizer, grid in grids.items()},
        "transfer": transfer,
        "found": {
            kind: {
                "winner": each.finetune,
                "edges": each.edges,
                "scores": [[*setting, value] for setting, value in each.scores.items()],
            }
            for kind, each in found.items()
        },
    }
    write_json(folder / "tuning.json", known)


def read_tuned(folder: Path, name: str, transfer: Run | None = None) -> dict[str, Tuned]:
    """Read what an earlier search of this name chose; empty where there was none.

    What it chose for another pre-training than `transfer` is left out.
    """
    kept = stored(folder).get(name, {})
    found = kept.get("found", {})
    if transfer and kept.get("transfer") != which(transfer):
        found = {kind: each for kind, each in found.items() if not kind.startswith("transfer")}
    return {
        kind: Tuned(
            Finetune(**each["winner"]),
            f"chosen on validation organs of {folder}",
            tuple(each["edges"]),
        )
        for kind, each in found.items()
    }


def which(transfer: Run | None) -> list | None:
    """Tell one pre-training from another."""
    return [transfer.folder.name, transfer.step] if transfer else None


def stored(folder: Path) -> dict:
    """Read all that was ever found for a run.

    Raises BadInput where it was found for another: a copied file, or settings of an earlier
    checkpoint.
    """
    found, own = unread(folder), run_identity(folder)
    for name, each in found.items():
        if own and each.get("of", own) != own:
            raise BadInput(
                f"{folder / 'tuning.json'}: its search at {name} was of another run, or of another "
                "checkpoint of this one; search again with `tune`, or take that run's by `tuned_on`"
            )
    return found


def unread(folder: Path) -> dict:
    """Read tuning.json, whosever it is."""
    path = folder / "tuning.json"
    if not path.exists():
        return {}
    try:
        return json.loads(path.read_text("utf-8"))
    except ValueError:
        raise BadInput(f"{path}: not JSON; remove it and search again with `tune`") from None
