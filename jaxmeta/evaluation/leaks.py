"""What a test would share with what it tests: asked of a run, of who gives settings, and of a
transfer run.

A score claims that nothing under test was seen. `checked` refuses what speaks against it; what
`allow_leak` lets through stays with the outcome, and every table names it.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxmeta.data.identity import digests
from jaxmeta.evaluation.settings import stored
from jaxmeta.runs import config_file
from jaxmeta.runs.provenance import (
    TUNED,
    HeldOut,
    Leak,
    Seen,
    contents_of,
    for_run,
    held_by,
    leaks,
    refuse_leaks,
    seen_from_json,
    twins,
)
from jaxmeta.runs.run import Run
from jaxmeta.runs.signature import changed, provenance_of, remembered, volumes_of
from jaxmeta.splits.pool import Pool

PREPARED = "bring those data back, or test on others with `data`"
BEGUN = "test on organs and patients that nothing has seen"


def held_in(run: Run, held_out: Pool) -> HeldOut:
    """Say what a test of a run holds out: no patient, where that leak is the run's own."""
    return for_run(held_by(held_out), run.split, run.config.allow_leak)


def checked(
    run: Run,
    held: HeldOut,
    held_out: Pool,
    *,
    allowed: Sequence[str],
    settings: Path | None,
    names: Iterable[str],
) -> tuple[Leak, ...]:
    """Refuse a test of data that were prepared anew, of what the run has seen, or by settings that
    were chosen on it; return the leaks that are allowed.

    `settings` is who gives them, by its searches of these `names`.
    """
    allowed = (*allowed, *run.config.allow_leak)
    now = remembered(held_out.shards, run.split)
    found = refuse_leaks(changed(volumes_of(run.folder), now), allowed, PREPARED)
    found += refuse_leaks(leaks(run.provenance, held), allowed, BEGUN)
    if "shared-patients" not in run.config.allow_leak:
        found += refuse_leaks(twins(held_out), allowed, "leave one of them out")
    if settings is not None:
        searched = tuned_on(settings, names)
        way = "take the settings of a search on other organs and patients"
        found += refuse_leaks(leaks(searched, held, kind="settings"), allowed, way)
    return found


def checked_transfer(run: Run, transfer: Run, held: HeldOut, allowed: Sequence[str]):
    """Refuse a transfer run that has seen what is tested."""
    allowed = (*allowed, *run.config.allow_leak)
    return refuse_leaks(leaks(transfer.provenance, held), allowed, "name another with `transfer`")


def tuned_on(other: Path, names: Iterable[str]) -> list[Seen]:
    """Say what settings stand on: what the other run and the transfer run that it tuned have
    learned from and were chosen on, and what its searches have looked at; of those that kept
    nothing, what their run validates on."""
    found, others, kept = [], [], stored(other)
    for name in names:
        if name not in kept:
            continue
        others += transfer_tuned(other, kept[name])
        if "seen" in kept[name]:
            found.append(seen_from_json(kept[name]["seen"])._replace(by=f"the search of {other}"))
            continue
        division = config_file.read_run(other)[1]
        known = [s.contents for s in provenance_of(other) if s.organs == division.val_organs]
        of = division.val_organs, division.train_patients
        found.append(Seen(f"the search of {other}", TUNED, *of, dict(*known[:1])))
    return [*found, *provenance_of(other), *others]


def transfer_tuned(other: Path, search: Mapping[str, Any]) -> tuple[Seen, ...]:
    """Say what the transfer run has seen that a search tuned: as it was kept, else by what lies
    beside."""
    if search.get("transfer_seen"):
        return tuple(map(seen_from_json, search["transfer_seen"]))
    beside = other / search["transfer"][0] if search.get("transfer") else other
    return provenance_of(beside) if beside != other and (beside / "config.json").exists() else ()


def searched_on(run: Run, validation: Pool) -> Seen:
    """Say what a search looks at."""
    patients = sorted({name for entry in validation.entries for name in entry.patients})
    organs = tuple(dict.fromkeys(entry.organ for entry in validation.entries))
    both = ((volume.fingerprint, volume.mask_digests) for volume in validation.shards.volumes)
    seen = Seen(str(run.folder), TUNED, organs, tuple(patients), contents_of([validation]))
    return seen._replace(masks=digests(both, organs))


def kinds_of_leaks(found: Iterable[Leak], *declared: Iterable[str]) -> tuple[str, ...]:
    """Name the kinds of leaks behind a score, those that runs were trained with too."""
    return tuple(sorted({leak.kind for leak in found}.union(*declared)))
