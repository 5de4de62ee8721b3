"""What a run folder keeps so that it can be recognized: provenance.json, and a signature in each
checkpoint.

    seen      what the run, and all that it began with, was trained and chosen on (`provenance.py`)
    volumes   name -> [patient, fingerprint, {organ: digest of its masks}] of every volume

It is written when the run begins, so the chain is known whatever is moved or removed later. The
signature is of this file and of config.json, but for paths: who edits either no longer has what was
trained.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxmeta.data.identity import digests
from jaxmeta.data.shards.shards import Shards
from jaxmeta.errors import BadInput
from jaxmeta.files import plain
from jaxmeta.methods.networks.segment_anything import converted
from jaxmeta.runs import config_file
from jaxmeta.runs.config import LOOKING_ON
from jaxmeta.runs.provenance import Leak, Seen, seen_from_json, seen_here, with_folder
from jaxmeta.splits.split import Split
from jaxmeta.training import checkpoint

NAME = "provenance.json"
TRAINED_ELSEWHERE = "trained elsewhere on what is not checked here"
SIGNATURE = "signature"
PATHS = (*LOOKING_ON, "data", "init_from")  # which change no result


def provenance_of(folder: Path | None) -> tuple[Seen, ...]:
    """Say what a run, and all that it stands on, has seen; of converted weights that nobody
    knows."""
    if folder is None:
        return ()
    if converted(folder):
        return (Seen(str(folder), "", unknown=TRAINED_ELSEWHERE),)
    if (folder / NAME).exists():
        told = config_file.read_json(folder / NAME)
        both = [(fingerprint, masks) for _, fingerprint, masks in told["volumes"].values()]
        # what others saw is told whole, what it saw by `volumes`
        chain = map(seen_from_json, told["seen"])
        chain = (s if s.by else s._replace(masks=digests(both, s.organs)) for s in chain)
        return with_folder(chain, folder)
    config, division = config_file.read_run(folder)  # of a version that kept names alone
    return with_folder(seen_here(config, division), folder) + provenance_of(config.origin)


def remembered(shards: Shards, division: Split) -> dict[str, list]:
    """Say of every volume whose it is, and what it and its masks of the split's organs are."""
    organs = {*division.train_organs, *division.val_organs, *division.test_organs}
    found = {}
    for volume in shards.volumes:
        own = {organ: of for organ, of in sorted(volume.mask_digests.items()) if organ in organs}
        found[volume.name] = [volume.patient, volume.fingerprint, own]
    return found


def volumes_of(folder: Path) -> dict[str, list]:
    """Read what a run remembers of its volumes; nothing of a version that kept names alone."""
    path = folder / NAME
    return config_file.read_json(path)["volumes"] if path.exists() else {}


def changed(before: Mapping[str, list], now: Mapping[str, list]) -> list[Leak]:
    """Find volumes that are no longer what a run remembers: by their names, and by their voxels
    where a scan has another name now. Who names it anew may label other organs; those that both
    name have to agree.
    """
    said = ("of another patient", "another scan", "labelled otherwise")
    known = {mine: (name, masks) for name, (_, mine, masks) in before.items() if mine}
    text = "{} is {} than when the run was trained: its data are others now"
    found = []
    for name, (_, fingerprint, masks) in sorted(now.items()):
        if name in before:
            both = zip(said, before[name], now[name], strict=True)
            other = [what for what, a, b in both if a != b]
        else:
            then, theirs = known.get(fingerprint, ("", {}))
            other = [said[-1] for organ in masks.keys() & theirs if masks[organ] != theirs[organ]]
            name = f"{name}, voxel for voxel {then},"
        if other:
            found.append(Leak("data", text.format(name, other[0])))
    return found


def signature(config: Mapping[str, Any], provenance: Mapping[str, Any]) -> str:
    """Sign what config.json and provenance.json say, but for paths."""
    own = {name: value for name, value in config["config"].items() if name not in PATHS}
    told = json.dumps([config | {"config": own}, provenance], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def signed(folder: Path) -> str:
    """Sign a run's folder as it stands."""
    path = folder / NAME
    kept = config_file.read_json(path) if path.exists() else {}
    return signature(config_file.read_json(folder / "config.json"), kept)


def refuse_edited(folder: Path) -> None:
    """Refuse a run whose config.json or provenance.json is not what its checkpoint was made
    with."""
    at = checkpoint.about_best(folder / "checkpoints")
    made = at and at[1].get(SIGNATURE)
    if made and made != signed(folder):
        raise BadInput(
            f"{folder}: config.json or {NAME} was changed after training: bring back what was "
            "there, or train that run"
        )


def run_identity(folder: Path) -> str | None:
    """Name a run and its best checkpoint, wherever it lies; None of what is no trained run."""
    if not (folder / "config.json").exists():
        return None
    at = checkpoint.about_best(folder / "checkpoints")
    return at and f"{signed(folder)[:12]}-{at[0]}"


def to_json(seen: Iterable[Seen], volumes: Mapping[str, list]) -> dict[str, Any]:
    """Make what provenance.json holds."""
    return {"seen": plain([each._asdict() for each in seen]), "volumes": dict(volumes)}
