"""Trained runs, brought back from their folders."""

import zlib
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding
from jaxtyping import PyTree

from jaxmeta.errors import BadInput
from jaxmeta.methods import method_of, networks
from jaxmeta.methods.networks.segment_anything import converted
from jaxmeta.models.model import Trained
from jaxmeta.runs import config_file
from jaxmeta.runs.build import build
from jaxmeta.runs.config import Config
from jaxmeta.runs.provenance import (
    TRAINED,
    HeldOut,
    Seen,
    for_run,
    hides,
    leaks,
    refuse_leaks,
    unknowns,
)
from jaxmeta.runs.signature import TRAINED_ELSEWHERE, provenance_of, refuse_edited
from jaxmeta.splits.split import Split
from jaxmeta.training import checkpoint

FROZEN = "frozen"  # in config.json: the fingerprint of the weights that no checkpoint has


class Run(NamedTuple):
    """A trained run, ready to be tested."""

    folder: Path
    config: Config
    split: Split
    state: Any
    step: int
    provenance: tuple[Seen, ...] = ()  # what it, and all that it stands on, has seen


def open_run(folder: Path) -> Run:
    """Read a run's configuration, its split and its best checkpoint."""
    config, division = config_file.read_run(folder)
    refuse_edited(folder)
    backbone = backbone_of(config, division)
    refuse_other(folder, backbone)
    learner = build(config, backbone=backbone)
    here = SingleDeviceSharding(jax.local_devices()[0])
    saved = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here),
        jax.eval_shape(learner.init, jax.random.key(config.seed)),
    )
    step, _, saved = checkpoint.load_best(folder / "checkpoints", saved)
    state = learner.from_save(jax.device_get(saved))
    return Run(folder, config, division, state, step, provenance_of(folder))


def backbone_of(config: Config, division: Split) -> PyTree:
    """Read the frozen weights that no checkpoint has; most methods have none."""
    frozen = method_of(config.method).frozen
    return frozen(beginning(config, division)) if frozen else ()


def fingerprint(weights: PyTree) -> str:
    """Shorten weights to eight characters that others would not have."""
    found = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        found = zlib.crc32(jax.tree_util.keystr(path).encode(), found)
        found = zlib.crc32(np.ascontiguousarray(leaf), found)
    return f"{found:08x}"


def refuse_other(folder: Path, backbone: PyTree) -> None:
    """Refuse frozen weights that are not those which a run was trained on."""
    trained_on = config_file.read_json(folder / "config.json").get(FROZEN)
    if trained_on and backbone and trained_on != fingerprint(backbone):
        begin = config_file.read_run(folder)[0].origin
        raise BadInput(
            f"{begin} no longer holds the weights that {folder} was trained on: bring those back, "
            "or train the run again"
        )


def stands_on(config: Config, leaks: Iterable[str] = ()) -> str:
    """Say beside every score what points and frozen weights a run uses; nothing for most methods.

    What the weights have seen is read to the end of what they began with.
    """
    method = method_of(config.method)
    if method.frozen is None:
        return method.footnote(config)
    if converted(config.origin):
        trained = f"of {config.origin}, {TRAINED_ELSEWHERE}"
    else:
        trained = f"trained here for {config_file.read_run(config.origin)[0].steps} steps"
        if unknown := unknowns(provenance_of(config.origin)):
            trained += f", on what stands on {' | '.join(unknown)}"
        elif not set(leaks) & {"organs", "patients", "contents"}:
            trained += ", on none of these organs or patients"
    return f"{method.footnote(config)}, frozen image encoder {trained}"


def beginning(config: Config, division: Split) -> PyTree:
    """Read the network that a run begins with: another run's, or of Segment Anything converted
    weights."""
    read = partial(network_of, config.origin, division, config)
    return networks.network_of(config).begin(config, read)


def network_of(folder: Path, division: Split, begun: Config) -> PyTree:
    """Read a run's network, for the run `begun`, of another split, to begin with.

    Raises BadInput where it, or anything that it stands on, has seen what the other holds out.
    """
    refuse_begun(provenance_of(folder), division, begun)
    run = open_run(folder)
    learner = build(run.config)
    theta, beside = learner.learned(run.state)["theta"], learner.beside(run.state)
    if not jax.tree.leaves(theta):
        raise BadInput(f"{folder} has learned no network: begin with another")
    return Trained(theta, beside) if jax.tree.leaves(beside) else theta


def refuse_begun(provenance: Iterable[Seen], division: Split, begun: Config) -> None:
    """Refuse to begin with what has seen organs or patients that a split holds out, slices that its
    setting hides, or more leaks than the run allows.
    """
    organs, validation = ({o: o for o in of} for of in (division.test_organs, division.val_organs))
    held = HeldOut(organs, frozenset(division.test_patients), validation=validation)
    held = for_run(held, division, begun.allow_leak)
    refuse_leaks(leaks(provenance, held), begun.allow_leak, "begin with another")
    known, hidden = {*division.train_patients, *division.test_patients}, hides(begun, division)
    for seen in provenance:
        if more := sorted(set(seen.allowed) - set(begun.allow_leak)):
            raise BadInput(f"{seen.by} was trained with `allow_leak={more[0]}`: begin with another")
        if hidden and seen.how == TRAINED and seen.hides != hidden and known & set(seen.patients):
            raise BadInput(
                f"{seen.by} may have seen slices that setting 2 hides: begin with another"
            )
