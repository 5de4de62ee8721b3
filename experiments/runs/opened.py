"""Trained runs, brought back from their folders."""

import zlib
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.sharding import SingleDeviceSharding
from jaxtyping import PyTree

from experiments.configs import Config
from experiments.runs import saved
from experiments.runs.build import build
from experiments.runs.build_sam import KINDS, begun_size, converted, weights_of
from jaxmeta import checkpoint
from jaxmeta.errors import BadInput
from jaxmeta.learner import with_backbone
from jaxmeta.tasks.split import Split

FROZEN = "frozen"  # in config.json: the fingerprint of the weights that no checkpoint has


class Run(NamedTuple):
    """A trained run, ready to be tested."""

    folder: Path
    config: Config
    split: Split
    state: Any
    step: int


def open_run(folder: Path) -> Run:
    """Read a run's configuration, its split and its best checkpoint."""
    config, division = saved.read(folder)
    here = SingleDeviceSharding(jax.devices()[0])
    state = jax.tree.map(
        lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=here),
        jax.eval_shape(build(config).init, jax.random.key(config.seed)),
    )
    step, _, state = checkpoint.load_best(folder / "checkpoints", state)
    backbone = backbone_of(config, division)
    refuse_other(folder, backbone)
    state = with_backbone(jax.device_get(state), backbone)
    return Run(folder, config, division, state, step)


def backbone_of(config: Config, division: Split) -> PyTree:
    """Read the frozen weights that no checkpoint has; most methods have none."""
    if config.algorithm != "ssm-sam":
        return ()
    return {"image_encoder": beginning(config, division)["image_encoder"]}


def fingerprint(weights: PyTree) -> str:
    """Shorten weights to eight characters that others would not have."""
    found = 0
    for path, leaf in jax.tree_util.tree_leaves_with_path(weights):
        found = zlib.crc32(jax.tree_util.keystr(path).encode(), found)
        found = zlib.crc32(np.ascontiguousarray(leaf), found)
    return f"{found:08x}"


def refuse_other(folder: Path, backbone: PyTree) -> None:
    """Refuse frozen weights that are not those which a run was trained on."""
    trained_on = saved.read_json(folder / "config.json").get(FROZEN)
    if trained_on and backbone and trained_on != fingerprint(backbone):
        begin = saved.read(folder)[0].begin
        raise BadInput(
            f"{begin} no longer holds the weights that {folder} was trained on: bring those back, or train "
            "the run again"
        )


def stands_on(config: Config) -> str:
    """Say beside every score what points and frozen weights a run uses; nothing for most methods."""
    if config.algorithm != "ssm-sam":
        return ""
    points = {
        "support": "points from the support's mask",
        "clicks": "CLICKS ON THE TRUTH",
        "none": "no points",
    }[config.prompted.prompt]
    if converted(config.begin):
        trained = f"of {config.begin}, trained elsewhere on what is not checked here"
    else:
        steps = saved.read(config.begin)[0].steps
        trained = f"trained here for {steps} steps, on none of these organs or patients"
    return f"{points}, frozen image encoder {trained}"


def beginning(config: Config, division: Split) -> PyTree:
    """Read the network that a run begins with: another run's, or of Segment Anything converted weights."""
    if config.network.kind not in KINDS:
        return network_of(config.begin, division, config)
    begun_size(config.begin)  # or it is none of Segment Anything's
    learned = None
    if not converted(config.begin):
        learned = network_of(config.begin, division, config)
    return weights_of(config, learned)


def network_of(folder: Path, division: Split, begun: Config) -> PyTree:
    """Read a run's network, for the run `begun`, of another split, to begin with.

    Raises BadInput where it learned from an organ or a patient that the other holds out.
    """
    refuse_seen(
        folder,
        organs={*division.test_organs, *division.val_organs},
        patients=set(division.test_patients),
        asked=set(division.test_organs),
    )
    known = {*division.train_patients, *division.test_patients}
    for link, config, theirs in links(folder):
        if leaks := sorted(set(config.allow_leak) - set(begun.allow_leak)):
            raise BadInput(f"{link} was trained with --allow-leak {leaks[0]}: begin with another")
        hides = (config.protocol, config.setting) == (begun.protocol, 2)
        hides = hides and theirs[:3] == division[:3]  # what is hidden depends on the organs
        if begun.setting == 2 and not hides and known & set(theirs.train_patients):
            raise BadInput(f"{link} may have seen slices that setting 2 hides: begin with another")
    learned = open_run(folder).state.meta.learned
    if not learned:
        raise BadInput(f"{folder} has learned no network: begin with another")
    return learned["theta"] if "theta" in learned else learned


def refuse_seen(
    folder: Path | None, *, organs: Set[str], patients: Set[str], asked: Set[str]
) -> None:
    """Refuse a run, or any that it began with, that learned from these organs or patients.

    Nor may validation on an organ that is `asked` have chosen its checkpoint.
    """
    for link, _, theirs in links(folder):
        seen = sorted(organs & set(theirs.train_organs) | asked & set(theirs.val_organs))
        seen += sorted(patients & set(theirs.train_patients))
        if seen:
            raise BadInput(
                f"{link} was trained or chosen on {seen[0]}, which is held out here: begin with another"
            )


def links(folder: Path | None) -> Iterator[tuple[Path, Config, Split]]:
    """List a run and what it began with, down to random or converted weights: that is learned too."""
    while folder and not converted(folder):
        config, division = saved.read(folder)
        yield folder, config, division
        folder = config.begin
