"""What a preparation did, counted from the parts it wrote."""

from collections import Counter
from collections.abc import Sequence, Set
from typing import NamedTuple

from jaxmeta.data.grid import Grid, shown_frame, sliced_shape, spacing
from jaxmeta.data.orientation import ACQUIRED, OBLIQUE, common_frame
from jaxmeta.data.shards.index import IndexRow
from jaxmeta.errors import BadInput

LONG = 3.0  # a pixel longer than so many of its widths is cut across slices
UNLIKE = 2.0  # a data set whose spacings differ more than so many times is told of


class DatasetCounts(NamedTuple):
    """One data set's share."""

    patients: int
    volumes: int
    slices: int
    structures: dict[str, int]  # structure -> volumes that hold it
    cut: str  # how its slices lie, in words


class Summary(NamedTuple):
    """What is prepared now, what is not and why."""

    datasets: dict[str, DatasetCounts]
    skipped: list[tuple[str, str]]  # (case, why)
    notes: list[str]
    reused: int  # volumes that were done before and have not changed


def summarize(
    rows: Sequence[IndexRow],
    skipped: Sequence[tuple[str, str]],
    notes: Sequence[str],
    reused: int,
    rule: str,
    unlabelled: Set[str] = frozenset(),
) -> Summary:
    """Count volumes, given as rows of the index and cut by a rule, by data set; of some it is known
    that nobody labelled them.

    Raises BadInput where there is no row, and for a data set whose labels are all empty.
    """
    datasets, notes = {}, list(notes)
    if not rows:
        raise BadInput(f"no usable case: {skipped[0][1]}" if skipped else "no case")
    for dataset in sorted({row.dataset for row in rows}):
        own = [row for row in rows if row.dataset == dataset]
        held = {structure: 0 for row in own for structure in sorted(row.structures)}
        for row in own:
            for structure, where in row.structures.items():
                held[structure] += bool(where.pixels)
        nameless = sorted({value for row in own for value in row.unnamed})
        told = ", ".join(map(str, nameless[:10])) + ", ..." * (len(nameless) > 10)
        labelled = [row for row in own if row.name not in unlabelled]
        if labelled and not any(held.values()):
            said = f"holds only values without a name: {told}" if nameless else "is empty"
            raise BadInput(f"{dataset}: no structure at all, every label {said}")
        if nameless:
            notes.append(f"{dataset}: label values without a name were left out: {told}")
        notes += [f"{dataset}: {note}" for note in empty_labels(labelled, held)]
        grids = {row.name: row.grid for row in own}
        notes += [f"{dataset}: {note}" for note in doubtful(grids, rule)]
        datasets[dataset] = DatasetCounts(
            patients=len({row.patient for row in own}),
            volumes=len(own),
            slices=sum(sliced_shape(grid)[0] for grid in grids.values()),
            structures=dict(sorted(held.items())),
            cut=cut_of(list(grids.values()), rule),
        )
    return Summary(datasets, list(skipped), notes, reused)


def empty_labels(rows: Sequence[IndexRow], held: dict[str, int]) -> list[str]:
    """Say which volumes have an empty label, and which names none of the volumes shows."""
    found = []
    shows = {row.name: any(where.pixels for where in row.structures.values()) for row in rows}
    empty = [row.name for row in rows if not shows[row.name] and not row.unnamed]
    if empty:
        found.append(f"the labels of {_some(empty, shows)} empty: nothing is learned from these")
    if absent := [name for name, count in held.items() if not count]:
        found.append(f"no volume shows {', '.join(absent[:10])}: is the value right?")
    return found


def cut_of(grids: Sequence[Grid], rule: str) -> str:
    """Say how the slices of a data set lie, with the least and the largest of what differs."""
    planes = [plane for plane, _ in Counter(grid.axis for grid in grids).most_common()]
    sides = [_range(side) for side in zip(*map(sliced_shape, grids), strict=True)]
    apart, height, width = (_range(mm) for mm in zip(*map(spacing, grids), strict=True))
    chosen = "as acquired" if rule == ACQUIRED else f"`axis={rule}`"
    return (
        f"{' and '.join(planes)} slices ({chosen}): {sides[0]} a volume, {apart} mm apart, of "
        f"{sides[1]} x {sides[2]} pixels of {height} x {width} mm"
    )


def doubtful(grids: dict[str, Grid], rule: str) -> list[str]:
    """Say what is unlikely to be meant: volumes cut across their slices, and volumes unlike each
    other."""
    found = []
    across = [name for name, grid in grids.items() if stretched(grid) > LONG]
    if across:
        worst = grids[max(across, key=lambda name: stretched(grids[name]))]
        pixel = " x ".join(f"{mm:.3g}" for mm in spacing(worst)[1:])
        mend = "leave `axis` out" if rule != ACQUIRED else "`axis` names another plane"
        found.append(
            f"WARNING: {_some(across, grids)} cut across their slices: pixels of {pixel} mm are "
            f"more than {LONG:g} times as long as wide; {mend}"
        )
    common = Counter(grid.axis for grid in grids.values()).most_common(1)[0][0]
    turned = turned_away(grids) if rule == ACQUIRED else []
    if turned:
        planes = ", ".join(sorted({grids[name].axis for name in turned}))
        found.append(
            f"WARNING: volumes differ: {_some(turned, grids)} {planes}, the others {common}; give "
            "them a folder of their own, or name one `axis` for all"
        )
    for what, axes in (("slices", slice(0, 1)), ("pixels", slice(1, 3))):
        sizes = {name: max(spacing(grid)[axes]) for name, grid in grids.items()}
        least, most = min(sizes, key=sizes.get), max(sizes, key=sizes.get)
        if sizes[most] > UNLIKE * sizes[least]:
            unit = "mm apart" if what == "slices" else "mm wide"
            found.append(
                f"volumes differ: {what} are {sizes[least]:.3g} {unit} in {least}, "
                f"{sizes[most]:.3g} in {most}"
            )
    return found


def stretched(grid: Grid) -> float:
    """Divide the longer side of a pixel by the shorter."""
    _, height, width = spacing(grid)
    return max(height, width) / min(height, width)


def turned_away(grids: dict[str, Grid]) -> list[str]:
    """Name the volumes whose slices lie more than 60 degrees off those of the volume in the
    middle."""
    frames = {name: shown_frame(grid) for name, grid in grids.items()}
    middle = common_frame(list(frames.values()))
    return [name for name, frame in frames.items() if abs(frame[0] @ middle[0]) < OBLIQUE]


def _range(values):
    low, high = (f"{end:.3g}" for end in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _some(names, every):
    shown = ", ".join(name.split("/")[-1] for name in names[:3]) + ", ..." * (len(names) > 3)
    return f"{len(names)} of {len(every)} volumes ({shown}) are"
