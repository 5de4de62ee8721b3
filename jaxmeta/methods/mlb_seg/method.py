"""MLB-Seg: a few labelled patients, many unlabelled ones, and a weight for each pixel of every
label that was guessed. The iteration is in `jaxmeta/learners/mlb_seg.py`.

A run has two stages: a network learns from the labelled alone and labels the rest (`first`, and
`jaxmeta/evaluation/stages.py`); then it bootstraps from both.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro
from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxmeta.augmentation.variants import MOST, SIZE
from jaxmeta.data.initial_labels import FIRST_STAGE, FOLDER, open_initial_labels
from jaxmeta.data.names import slug
from jaxmeta.errors import BadInput
from jaxmeta.learners.learner import Learner
from jaxmeta.learners.mlb_seg import Rule, mlb_seg
from jaxmeta.methods import supervised
from jaxmeta.methods.method import Method
from jaxmeta.methods.mlb_seg.released import (
    Released,
    as_released,
    drawn_as_released,
    settled,
)
from jaxmeta.methods.networks import network_of
from jaxmeta.methods.origins import told_of
from jaxmeta.methods.parts import rate_schedule, started
from jaxmeta.methods.sources import eligible, shape_of
from jaxmeta.methods.supervised import SUPERVISED, Supervised, check_labelled_slices
from jaxmeta.models import Model
from jaxmeta.options import options
from jaxmeta.parallel.over_images import over_images
from jaxmeta.splits.pool import Pool
from jaxmeta.tasks.semi_labelled import every_slice, semi_labelled
from jaxmeta.tasks.source import Source

LARGEST_ZOOM = 2 * MOST / (SIZE / 2)  # of the nearest look; the farthest shows .58 of a side
LABELS_OF = {"both": ("initial", "pseudo"), "initial": ("initial",), "none": ()}


@options
class MlbSeg:
    """MLB-Seg: learns one organ (--organ) from few labelled patients and many unlabelled ones."""

    initial_labels: str = FIRST_STAGE
    """Who labels the unlabelled before they are learned from. stage-1: the network that this run
    begins with; atlas: the labelled slices themselves, by place and intensity; the folder of any
    other run, which a few-shot run adapts to the labelled; or a structure of the shards."""
    stage_1: Literal["supervised", "clean-steps"] = "supervised"
    """How the network learns that it begins with. supervised: as the preset of that name does;
    clean-steps: by the steps on clean slices that bootstrapping has too, without the rest."""
    stage_1_steps: int = 600
    """Steps of it, from random weights or from those that --init-from names; of a run that has
    learned the organ from labelled patients there are none."""
    bootstraps: bool = True
    """Learn from the unlabelled; otherwise a run is clean steps alone."""
    labels: Literal["both", "initial", "none"] = "both"
    """What the unlabelled are learned from: initial labels and those that the student's looks at a
    slice give together, the first alone, or neither, so that looks and teacher alone teach."""
    weights: Literal["meta", "uniform", "confidence"] = "meta"
    """What a pixel's label counts. meta: as far as it would have lowered the loss of clean slices;
    confidence: how sure who gave it was."""
    mirrors: bool = True
    """One of a slice's looks is its mirror image. An organ that has its side, like a kidney, is not
    itself in a mirror: without, that look is a second one from nearer."""
    ensemble: bool = True
    """The student's looks give pseudo labels together; otherwise each its own."""
    consistency: bool = True
    """Looks learn to agree."""
    teacher: bool = True
    """The student learns to agree with a mean teacher."""
    momentum: float = 0.9
    """Of the steps."""
    noise: float = 0.02
    """Standard deviation of what the teacher sees besides."""
    decay: float = 0.99
    """Share of the teacher that a step leaves as it is, once it has begun."""
    stride: int = 1
    """Learn from every so manieth slice of a scan, 1 from all."""
    released: Released = Released()
    epoch_steps: Annotated[int, tyro.conf.Suppress] = 0
    """Steps that see all unlabelled slices once: filled in by the run."""
    labelled_by: Annotated[str, tyro.conf.Suppress] = ""
    """Who gave the initial labels, by a fingerprint: filled in by the run."""


def learner(config: Any, begin: PyTree, augment: Any, mesh: Mesh | None) -> Learner:
    """Make it; the devices of a mesh share the images of a step."""
    own, outer = config.method, config.outer
    model = started(network_of(config).model(config, 1), begin)
    rule = Rule(
        rate_of(config),
        momentum=own.momentum,
        weight_decay=outer.weight_decay,
        clip=outer.clip or float("inf"),
        noise=own.noise,
        decay=own.decay,
        labels=LABELS_OF[own.labels],
        weights=own.weights,
        mirrors=own.mirrors,
        ensemble=own.ensemble,
        consistency=own.consistency and own.bootstraps,
        teacher=own.teacher and own.bootstraps,
        bootstraps=own.bootstraps,
    )
    rule = as_released(own.released, rule, own.epoch_steps)
    running = network_of(config).stateful(config) == "running"
    forward = forward_of(model, mesh, running=running)
    return mlb_seg(forward, lambda key: (model.init(key), model.state()), rule, augment)


def rate_of(config: Any):
    """Make step -> the rate."""
    rate = rate_schedule(config.outer, config.steps)
    return rate if callable(rate) else lambda step: rate


def forward_of(model: Model, mesh: Mesh | None = None, *, running: bool = False):
    """Ask a model for logits [N, S, S] and for its state, where it has any; `running` statistics
    are of all images, which no mesh then shares."""

    def forward(variables, state, image, *, train):
        if running:
            logits, after = model.apply(variables, image, train=train, state=state)
            return logits[..., 0], after

        def apply(both, image):
            variables, state = both
            told = dict(state=state) if state else {}
            return model.apply(variables, image, train=train, **told)[0][..., 0]

        return over_images(apply, mesh)((variables, state), image), state

    return forward


def source(config: Any, drawn: Pool, *, training: bool = True) -> Source:
    """Draw clean slices of the labelled, and slices of the unlabelled with the labels that stand
    in the run's folder."""
    own = config.method
    drawn = drawn_as_released(own.released, eligible(config.tasks, drawn))
    shape, stride = shape_of(config.tasks), own.stride
    if not own.bootstraps:
        return semi_labelled(drawn, shape, (), None, stride=stride)
    slices = every_slice(drawn.shards, drawn.unlabelled, stride)
    names = [drawn.shards.volumes[number].name for number in drawn.unlabelled]
    labels = None
    if training:
        labels = open_initial_labels(config.workdir / FOLDER, drawn.shards, config.organ, names)
    return semi_labelled(drawn, shape, slices, labels, stride=stride)


def settle(config: Any, drawn: Pool) -> Any:
    """Fill in how many steps a pass takes, and whose the labels are that stand in the run's
    folder."""
    own = config.method
    if not own.bootstraps:
        return config
    slices = len(every_slice(drawn.shards, drawn.unlabelled, own.stride))
    labels = open_initial_labels(config.workdir / FOLDER, drawn.shards, config.organ, ())
    known = dict(epoch_steps=settled(own.released, config, slices), labelled_by=labels.made_by)
    return dataclasses.replace(config, method=dataclasses.replace(own, **known))


def first(config: Any) -> Any:
    """Give the run that this one begins with: of the same network, on the labelled alone, seen as
    near as looks show them, farther too, and mirrored or not. None where `init_from` is one."""
    own = config.method
    if has_learned(config):
        return None
    steps = dict(steps=own.stage_1_steps, checkpoint_every=max(1, own.stage_1_steps))
    steps |= dict(test_each=False)  # its own scores are no result
    if own.stage_1 == "clean-steps":
        names = ("stride", "momentum", "mirrors", "released", "stage_1")
        kept = {name: getattr(own, name) for name in names}
        more = dict(method=MlbSeg(bootstraps=False, **kept))
    else:
        more = {"method": Supervised(stride=own.stride)} | supervised.usual(config.tasks)
        seen = dict(zoom=LARGEST_ZOOM, flip=0.5 if own.mirrors else 0.0)
        more["augment"] = dataclasses.replace(more["augment"], **seen)
    return dataclasses.replace(config, workdir=config.workdir / FIRST_STAGE, **steps, **more)


def has_learned(config: Any) -> bool:
    """Tell whether what a run begins with has learned its organ from labelled patients, so that
    there is no stage 1."""
    theirs = told_of(config.origin)
    if theirs.get("method", {}).get("type") not in (SUPERVISED.name, MLB_SEG.name):
        return False
    return slug(theirs["organ"]) == slug(config.organ)


def shares_images(config: Any) -> bool:
    """Let devices share the images of a step, unless running statistics are of all of them."""
    return network_of(config).stateful(config) != "running"


def stands_on(config: Any) -> tuple[Path, ...]:
    """Name the other run that gave its labels, if one did."""
    path = Path(config.method.initial_labels)
    return (path,) if (path / "config.json").is_file() else ()


def told(metrics: dict) -> str:
    """Say how often no pixel had a weight."""
    count = int(metrics.get("weightless", 0))
    if not count:
        return ""
    return (
        f"in {count} of the steps no label of any pixel would have lowered the loss of the clean "
        "slices: all weights were 0 there, and agreement alone taught"
    )


def check(config: Any) -> None:
    """Refuse what does not go together."""
    own, network = config.method, network_of(config)
    if network.model is None or network.prompter(config):
        raise BadInput(
            f"mlb-seg with the network {network.name}: it needs one that is told nothing beside a "
            "slice"
        )
    network.check(config)
    first = own.bootstraps and not has_learned(config)  # a stage 1 is still to be trained
    if network.stateful(config) and own.stage_1 == "supervised" and first:
        raise BadInput(
            f"the network {network.name} with `method.stage_1=supervised`, which keeps no running "
            "statistics and no frozen weights: `method.stage_1=clean-steps`"
        )
    check_labelled_slices(config)
    if config.tasks.vmap:
        raise BadInput("`tasks.vmap` with mlb-seg: the tasks of a step are one batch")
    if config.distributed:
        raise BadInput("`distributed` with mlb-seg: one process trains it, on all of its devices")
    least = dict(stage_1_steps=1, stride=1, noise=0)
    for name, limit in least.items():
        if getattr(own, name) < limit:
            raise BadInput(f"`method.{name}={getattr(own, name)}`: must be at least {limit}")
    for name in ("momentum", "decay"):
        if not 0 <= getattr(own, name) < 1:
            raise BadInput(f"`method.{name}={getattr(own, name)}`: must be from 0 to below 1")
    if own.bootstraps and own.labels == "none" and not (own.consistency or own.teacher):
        raise BadInput(
            "`method.labels=none` without `method.consistency` and `method.teacher`: nothing of "
            "the unlabelled would be learned; `method.bootstraps=False` learns from the labelled"
        )
    for name, what in unused(config):
        if getattr(own, name) != getattr(MlbSeg(), name):
            raise BadInput(f"`method.{name}` {what}")


def unused(config: Any) -> Iterator[tuple[str, str]]:
    """List options that would change nothing, and why."""
    own = config.method
    if not own.bootstraps:
        for name in ("initial_labels", "labels", "weights", "ensemble", "consistency", "teacher"):
            yield name, "with `method.bootstraps=False`: the labelled alone are learned from"
    if own.labels == "none":
        for name in ("initial_labels", "weights", "ensemble"):
            yield name, "with `method.labels=none`: there are no labels"
    if own.labels == "initial":
        yield "ensemble", "with `method.labels=initial`: there are no pseudo labels"
    if not own.teacher:
        for name in ("noise", "decay"):
            yield name, "without `method.teacher`: it is the teacher's"
    if has_learned(config) and config.origin.name != FIRST_STAGE:
        # of a network with state its preset names the first: there is no other
        for name in ("stage_1", "stage_1_steps")[bool(network_of(config).stateful(config)) :]:
            yield name, "with `init_from` of a run that has learned the organ"


MLB_SEG = Method(
    "mlb-seg",
    MlbSeg,
    learner=learner,
    source=source,
    check=check,
    shares_images=shares_images,
    settle=settle,
    first=first,
    stands_on=stands_on,
    told=told,
    gradients=lambda own: 1,
    adapts=False,
    needs_support=False,
    by_labels=True,
    own_loss=True,
    own_step=True,
)
