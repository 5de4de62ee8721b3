"""What a preparation did, counted from the parts it wrote."""

from collections.abc import Sequence
from typing import NamedTuple

from jaxmeta.data.grid import grid_from_json, sliced_shape
from jaxmeta.errors import BadInput


class Counts(NamedTuple):
    """One data set's share."""

    patients: int
    volumes: int
    slices: int
    structures: dict[str, int]  # structure -> volumes that hold it


class Summary(NamedTuple):
    """What is prepared now, what is not and why."""

    datasets: dict[str, Counts]
    skipped: list[tuple[str, str]]  # (case, why)
    notes: list[str]
    reused: int  # volumes that were done before and have not changed


def summarise(
    rows: Sequence[dict], skipped: Sequence[tuple[str, str]], notes: Sequence[str], reused: int
) -> Summary:
    """Count volumes, given as rows of the index, by data set; refuse those without any label."""
    datasets, notes = {}, list(notes)
    if not rows:
        raise BadInput(f"no usable case: {skipped[0][1]}" if skipped else "no case")
    for dataset in sorted({row["dataset"] for row in rows}):
        own = [row for row in rows if row["dataset"] == dataset]
        held = {structure: 0 for row in own for structure in sorted(row["structures"])}
        for row in own:
            for structure, (_, _, pixels) in row["structures"].items():
                held[structure] += bool(pixels)
        nameless = sorted({value for row in own for value in row["unnamed"]})
        told = ", ".join(map(str, nameless[:10])) + ", ..." * (len(nameless) > 10)
        if not any(held.values()):
            said = f"holds only values without a name: {told}" if nameless else "is empty"
            raise BadInput(f"{dataset}: no structure at all, every label {said}")
        if nameless:
            notes.append(f"{dataset}: label values without a name were left out: {told}")
        datasets[dataset] = Counts(
            patients=len({row["patient"] for row in own}),
            volumes=len(own),
            slices=sum(sliced_shape(grid_from_json(row["grid"]))[0] for row in own),
            structures=dict(sorted(held.items())),
        )
    return Summary(datasets, list(skipped), notes, reused)
