"""What a test found, and how it is shown: the table, summary.json, cases.csv, pictures and masks."""

import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from experiments.runs import Run
from experiments.tuning import Protocol, Setting, describe
from jaxmeta import devices, report, track
from jaxmeta.compare import difference, row_mean
from jaxmeta.data.grid import from_slices, restore, sliced_shape, spacing
from jaxmeta.data.nifti import save_mask
from jaxmeta.data.shards import Shards, load_images
from jaxmeta.evaluate import Case
from jaxmeta.files import write_json
from jaxmeta.metrics import Counts
from jaxmeta.report import Line, Picture
from jaxmeta.tasks.trial import Query

METHOD, BOUND = "adapted", "supervised"
NOTES = {
    "zero steps": "the method before any step on the support",
    "copied mask": "the support slice's mask at the nearest relative height, none far from all of them",
    BOUND: "the same network, trained on all labels of all other patients: an upper bound",
}


class Table(NamedTuple):
    """What one number of shots gave."""

    shots: int
    cases: list[Case]
    pictures: list[tuple[Case, Picture]]  # of the method, each volume once
    settings: dict[str, Setting]
    seconds: float  # of one adaptation


class Outcome(NamedTuple):
    """What one run's test gave."""

    run: Run
    draws: int
    protocol: Protocol
    tables: tuple[Table, ...]
    heads: dict[str, float]  # Dice of each pre-training head of the transfer run, if there is one


def cohort_of(shards: Shards) -> str:
    """Name the data by the content of their indices, so that seeds of a cohort are told apart."""
    texts = sorted((Path(folder) / "index.json").read_bytes() for folder in shards.folders)
    return f"{zlib.crc32(b''.join(texts)):08x}"


def keep(
    found: Iterable[tuple[Case, Query, np.ndarray]],
    run: Run,
    shards: Shards,
    shots: int,
    *,
    masks: bool,
) -> tuple[list[Case], list[tuple[Case, Picture]]]:
    """Collect cases; of each volume's first one by the method, a picture and the mask as NIfTI."""
    cohort = cohort_of(shards)
    cases, pictures, seen = [], [], set()
    for case, query, mask in found:
        case = case._replace(shots=shots, run=str(run.folder), cohort=cohort)
        cases.append(case)
        if case.row != METHOD or (case.organ, case.case) in seen:
            continue
        seen.add((case.organ, case.case))
        pictures.append((case, picture(shards, case, query, mask)))
        if masks:
            name = f"{case.case}_{case.organ}_{shots}shot.nii.gz".replace("/", "_")
            save_prediction(run.folder / "predictions" / name, mask, shards, query.volume)
    return cases, pictures


def save_prediction(path: Path, mask: np.ndarray, shards: Shards, volume: int) -> None:
    """Write a mask [N, H, W] on the grid of its volume's own file."""
    grid = shards.volumes[volume].grid
    path.parent.mkdir(parents=True, exist_ok=True)
    save_mask(path, from_slices(mask.astype(np.uint8), grid), grid)


def picture(shards: Shards, case: Case, query: Query, mask: np.ndarray) -> Picture:
    """Show the slice that holds most of the structure."""
    grid = shards.volumes[query.volume].grid
    number = int(query.target.sum((1, 2)).argmax())
    side = max(sliced_shape(grid)[1:])
    image = load_images(shards, query.volume, [number], size=side)[..., 0]
    title = f"{case.organ}, {case.case}\nDice {report.number(case.dice)}, slice {number}"
    return Picture(
        title, restore(image, grid)[0], query.target[number], mask[number], spacing(grid)[1:]
    )


def write(folder: Path, outcomes: Sequence[Outcome]) -> str:
    """Write the report of one run, or of several together; return its tables as text."""
    shots = [table.shots for table in outcomes[0].tables]
    texts, tables = [], []
    for number, each in enumerate(shots):
        parts = [outcome.tables[number] for outcome in outcomes]
        cases = [case for part in parts for case in part.cases]
        lines = lines_of(cases, [part.settings for part in parts])
        title = protocol(outcomes, cases, each)
        seconds = float(np.median([part.seconds for part in parts]))
        texts.append(report.table(title, lines, METHOD))
        organs = by_organ(cases, [line.row for line in lines])
        texts.append(report.grid(f"Dice by organ at {each} shots", organs))
        texts.append(f"one adaptation takes {seconds:.2f} s on one of {devices.describe_devices()}")
        tables.append(
            {
                "shots": each,
                "protocol": title,
                "lines": lines,
                "organs": organs,
                "settings": [part.settings for part in parts],
                "adaptation_seconds": seconds,
            }
        )
        chosen = [shown for part in parts for shown in worst_to_best(part.pictures)]
        report.overlay(folder / f"overlay_{each}shot.png", chosen)
    texts += [alive(outcome.heads) for outcome in outcomes if outcome.heads]
    write_json(
        folder / "summary.json",
        {
            "runs": [
                {
                    "folder": str(o.run.folder),
                    "step": o.run.step,
                    "split": o.run.split,
                    "transfer_heads": o.heads,
                }
                for o in outcomes
            ],
            "jax": jax.__version__,
            "tables": tables,
        },
    )
    everything = [case for o in outcomes for table in o.tables for case in table.cases]
    report.write_cases(folder / "cases.csv", everything)
    if len(outcomes) == 1:
        draw_curves(folder / "curves.png", outcomes[0].run.folder / "metrics.jsonl")
    texts.append(f"report: {folder}")
    return "\n\n".join(texts)


def lines_of(cases: Sequence[Case], settings: Sequence[dict[str, Setting]]) -> list[Line]:
    """Make the table's lines, in the order in which rows were scored; `settings` of each run."""
    rows = {}
    for case in cases:
        rows.setdefault(case.row, []).append(case)
    lines = []
    for row, own in rows.items():
        (dice, counts), (iou, _) = row_mean(own), row_mean(own, "iou")
        compared = row not in (METHOD, BOUND)
        behind = difference(rows[METHOD], own) if compared else None
        several = compared and len(settings) > 1
        over_runs = difference(rows[METHOD], own, runs_too=True) if several else None
        used = dict.fromkeys(describe(of_run[row]) for of_run in settings if row in of_run)
        note = " | ".join(used) or NOTES.get(row, "")
        lines.append(Line(row, dice, iou, counts, behind, over_runs, note))
    return lines


def alive(heads: dict[str, float]) -> str:
    """Say whether every head of the transfer run learned its organ."""
    dead = [name for name, dice in heads.items() if dice < 0.1]
    text = f"transfer: {len(heads)} pre-training heads, Dice {report.number(min(heads.values()))}"
    text += f" to {report.number(max(heads.values()))}"
    return text + (f"; DEAD, so the baseline is too weak: {', '.join(dead)}" if dead else "")


def protocol(outcomes: Sequence[Outcome], cases: Sequence[Case], shots: int) -> str:
    """Say in a sentence how the numbers came about."""
    first = outcomes[0]
    organs = sorted({case.organ for case in cases})
    patients = {(case.cohort, case.patient) for case in cases}
    slices = f"{shots} slice{'s' * (shots != 1)}"
    lenders = f"{first.protocol.patients} patient{'s' * (first.protocol.patients != 1)}"
    kept = ", the largest piece of each mask" if first.protocol.largest_piece else ""
    runs = ", ".join(f"{o.run.folder} (step {o.run.step})" for o in outcomes)
    return (
        f"{slices} of {lenders} as support, {first.draws} supports an organ; organs never trained "
        f"on: {', '.join(organs)}; {len(patients)} patients never seen; whole volumes, 3-D, "
        f"original resolution{kept}; {runs}"
    )


def by_organ(
    cases: Sequence[Case], rows: Sequence[str]
) -> dict[str, dict[str, tuple[float, Counts]]]:
    """Average each row's Dice organ by organ, with what stands behind it."""
    found = {row: {} for row in rows}
    for row, organ in sorted({(case.row, case.organ) for case in cases}):
        dice, counts = row_mean([c for c in cases if (c.row, c.organ) == (row, organ)])
        found[row][organ] = dice.mean, counts
    return found


def worst_to_best(pictures: Sequence[tuple[Case, Picture]]) -> list[Picture]:
    """Pick the worst, the median and the best case of each organ."""
    chosen = []
    for organ in sorted({case.organ for case, _ in pictures}):
        own = [(case.dice, case.case, shown) for case, shown in pictures if case.organ == organ]
        own = sorted((each for each in own if each[0] == each[0]), key=lambda each: each[:2])
        places = sorted({0, len(own) // 2, len(own) - 1}) if own else []
        chosen += [own[place][2] for place in places]
    return chosen


def draw_curves(path: Path, metrics: Path) -> None:
    """Draw how training went, where the run kept its metrics."""
    lines = track.read_metrics(metrics)
    names = {"loss": "loss", "dice/before": "dice_before", "dice/after": "dice"}
    names |= {"validation Dice": "validation_dice", "norm of the direction": "direction_norm"}
    series = {shown: track.column(lines, name) for shown, name in names.items()}
    series = {shown: points for shown, points in series.items() if points[0]}
    if series:
        report.curves(path, series)
