"""What a run begins with, worked out from its configuration and its data before anything is
learned."""

import dataclasses
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from jaxmeta.data.grid import pixel, shown_frame
from jaxmeta.data.identity import doubts
from jaxmeta.data.orientation import common_frame, frame_to_text
from jaxmeta.data.shards.shards import Shards, structures
from jaxmeta.methods import method_of
from jaxmeta.methods.options import BATCH
from jaxmeta.parallel import devices
from jaxmeta.runs.build import open_data, singles, task_source, training_pool
from jaxmeta.runs.checks import check
from jaxmeta.runs.config import Config
from jaxmeta.runs.protocol import refuse_empty, trained_by
from jaxmeta.runs.provenance import (
    Seen,
    for_run,
    held_out,
    leaks,
    namesakes,
    refuse_leaks,
    seen_here,
)
from jaxmeta.runs.signature import provenance_of
from jaxmeta.splits.alpnet import AlpnetFold, hidden_slices, split_of
from jaxmeta.splits.labelled import EVERYBODY_ELSE, labelled_split
from jaxmeta.splits.pool import Entry, Pool, pool, volumes_of
from jaxmeta.splits.split import Split, recognize, split
from jaxmeta.tasks.source import Source


class Given(NamedTuple):
    """What a run begins with: its data, who may see what of them, and where tasks come from."""

    config: Config  # filled in with what the data decide
    shards: Shards
    division: Split
    protocol: AlpnetFold | None
    source: Source
    provenance: tuple[Seen, ...] = ()  # what it will have seen, and what it begins with has
    notes: tuple[str, ...] = ()  # what may be one under two names, and leaks that are allowed


def gather(config: Config) -> Given:
    """Open the data, fill in what they decide, and settle who may see what.

    Raises BadInput for what does not fit together.
    """
    shards = open_data(config)
    config = resolved(config, shards)
    check(config)
    protocol, hidden = trained_by(config, shards), {}
    if protocol:
        refuse_empty(protocol, shards)
        hidden = hidden_slices(protocol, shards)
    division = divide(config, shards, protocol)
    source = task_source(config, training_pool(config, shards, division, hidden))
    config = method_of(config.method).settle(config, source.pool)
    entries = source.pool.entries
    learned = dict(
        structures=structure_names(entries),
        modality=common(entry.modality for entry in entries),
        channel=common(entry.channel for entry in entries),
        planes=planes_of(source.pool),
        frames=frames_of(source.pool),
        pixels=pixel_sizes(source.pool, config.tasks.size, config.tasks.mm),
    )
    provenance, notes = looked_at(config, shards, division, source.pool)
    config = dataclasses.replace(config, **learned)
    return Given(config, shards, division, protocol, source, provenance, notes)


def resolved(config: Config, shards: Shards) -> Config:
    """Fill in what the shards were prepared for, how many tasks feed the devices, and how the one
    organ is called there."""
    size, spacing, axis = shards.defaults
    tasks = config.tasks
    one_batch = method_of(config.method).own_step  # which any number of devices can share
    fed = 1 if one_batch else devices.to_be_fed()
    tasks = dataclasses.replace(
        tasks,
        batch_size=devices.whole_tasks(tasks.batch_size or None, BATCH, fed),
        size=tasks.size or size,
        spacing=(spacing or 0.0) if tasks.spacing == "shards" else tasks.spacing,
    )
    organs = recognize([config.organ] if config.organ else [], structures(shards))
    return dataclasses.replace(config, tasks=tasks, axis=axis, organ="".join(organs))


def divide(config: Config, shards: Shards, protocol: AlpnetFold | None = None) -> Split:
    """Settle who is on which side."""
    if protocol:
        return split_of(protocol, shards)
    if method_of(config.method).by_labels:
        return labelled_split(
            shards,
            config.organ,
            labelled=config.labelled,
            test_patients=config.test_patients,
            unlabelled=config.unlabelled or (EVERYBODY_ELSE,),
            seed=config.seed,
        )
    return split(
        shards,
        test_organs=config.test_organs,
        val_organs=config.val_organs,
        train_organs=config.train_organs or None,
        test_patients=config.test_patients or None,
        seed=config.seed,
    )


def looked_at(
    config: Config, shards: Shards, division: Split, training: Pool
) -> tuple[tuple[Seen, ...], tuple[str, ...]]:
    """Say what a run will have seen, itself and through what it begins with, and what must be told.

    Raises BadInput where that is held out, unless `allow_leak` lets it through.
    """
    validating = None
    if division.val_organs:
        validating = pool(shards, division, "val", single_patients=singles(config))
    own, begun = seen_here(config, division, training, validating), provenance_of(config.origin)
    for folder in method_of(config.method).stands_on(config):
        begun += provenance_of(folder)
    validation = division.val_organs
    held = held_out(shards, division.test_organs, division.test_patients, validation=validation)
    held = for_run(held, division, config.allow_leak)
    way = "hold it out with the other, or leave it out"
    found = refuse_leaks(leaks(own, held), config.allow_leak, way)
    found += refuse_leaks(leaks(begun, held), config.allow_leak, "begin with another")
    told = [f"LEAK {leak.kind}: {leak.text}" for leak in found]
    several = len(shards.folders) > 1  # of one folder its preparation has told the structures
    told += namesakes(begun, held)
    return own + begun, tuple(doubts(shards, structures=several) + told)


def planes_of(pool: Pool) -> tuple[str, ...]:
    """List the planes that the slices of a pool are nearest to."""
    return tuple(sorted({scan.grid.axis for scan in volumes_of(pool)}))


def frames_of(pool: Pool) -> tuple[str, ...]:
    """List the frames in which the slices of a pool are shown, one a data set and plane."""
    groups = {}
    for scan in volumes_of(pool):
        groups.setdefault((scan.dataset, scan.grid.axis), []).append(shown_frame(scan.grid))
    texts = (frame_to_text(common_frame(own)) for _, own in sorted(groups.items()))
    return tuple(dict.fromkeys(texts))


def pixel_sizes(pool: Pool, size: int, mm: float | None) -> tuple[float, ...]:
    """Give the least and the largest mm of a pixel among the scans that tasks are drawn from."""
    sides = [side for scan in volumes_of(pool) for side in pixel(scan.grid, size, mm)]
    return (round(min(sides), 4), round(max(sides), 4)) if sides else ()


def common(values: Iterable[str | None]) -> str:
    """Take the value that all have; nothing where they differ."""
    found = set(values)
    return found.pop() or "" if len(found) == 1 else ""


def structure_names(entries: Sequence[Entry]) -> tuple[str, ...]:
    """Name structures to people: data set/organ, with the channel, and the modality if there are
    two."""

    def name(entry: Entry, *more: str | None) -> str:
        return " ".join(filter(None, (f"{entry.dataset}/{entry.organ}", *more)))

    short = [name(entry, entry.channel) for entry in entries]
    return tuple(
        name(entry, entry.modality, entry.channel) if short.count(each) > 1 else each
        for entry, each in zip(entries, short, strict=True)
    )
