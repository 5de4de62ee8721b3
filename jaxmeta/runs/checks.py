"""What no run can be made of, refused in one line before anything is done."""

import dataclasses

from jaxmeta.errors import BadInput
from jaxmeta.runs.build_sam import KINDS, size_of, ssm_network
from jaxmeta.runs.config import INNER, Config, Inner, Network, Prompted, Tasks, TaskWeights
from jaxmeta.runs.own_network import own_network
from jaxmeta.runs.presets import OWN_LOSS, STILL
from jaxmeta.training.dashboards import package


def check(config: Config) -> None:
    """Refuse in one line what no run can be made of."""
    tasks, network, inner = config.tasks, config.network, config.inner
    least = {
        "--steps": (config.steps, 0),
        "--checkpoint-every": (config.checkpoint_every, 1),
        "--seed": (config.seed, 0),
        "--validation-tasks": (config.validation_tasks, 1),
        "--tasks.batch-size": (tasks.batch_size, 1),
        "--tasks.vmap": (tasks.vmap, 1),
        "--tasks.size": (tasks.size, 1),
        "--tasks.shots": (tasks.shots, 1),
        "--tasks.queries": (tasks.queries, 1),
        "--tasks.least-pixels": (tasks.least_pixels, 1),
        "--tasks.spacing": (tasks.spacing, 0),
        "--inner.steps": (inner.steps, 1 if config.algorithm == "maml++" else 0),
        "--inner.test-steps": (inner.test_steps, 0),
        "--inner.augment": (inner.augment, 0),
        "--inner.clip": (inner.clip, 0),
        "--inner.cg-steps": (inner.cg_steps, 1),
        "--inner.features": (inner.features, 1),
        "--inner.every": (inner.every, 1),
        "--augment.elastic-cells": (config.augment.elastic_cells, 1),
        "--network.groups": (network.groups, 1),
        "--outer.clip": (config.outer.clip, 0),
        "--network.widths": (min(network.widths or (1,), default=0), 1),
        "--network.adapter-width": (network.adapter_width, 1),
        "--network.last-blocks": (network.last_blocks, 1),
        "--tasks.width": (tasks.width, 2),
        "--tasks.stride": (tasks.stride, 1),
        "--prompted.period": (config.prompted.period, 1),
        "--prompted.copies": (config.prompted.copies, 1),
        "--prompted.dropout": (config.prompted.dropout, 0),
    }
    refuse_foreign(config.algorithm, inner)
    refuse_unused(config)
    refuse_unprompted(config)
    refuse_own(config)
    for name, (value, limit) in least.items():
        if value is not None and value < limit:
            raise BadInput(f"{name} {value}: must be at least {limit}")
    for width in network.widths if network.groups else ():
        if width % min(network.groups, width):
            raise BadInput(
                f"--network.widths {width}: does not split into {network.groups} groups; give a "
                "multiple, or other --network.groups"
            )
    if config.distributed and not config.data:
        raise BadInput("--distributed needs --data: each process would write phantoms of its own")
    if config.tasks.decathlon and not config.data:
        raise BadInput(
            "--tasks.decathlon needs --data: shards of the Medical Segmentation Decathlon; for "
            "phantoms or other data --tasks.no-decathlon, or the preset metamedseg-small"
        )
    if config.protocol and "shared-patients" in config.allow_leak:
        raise BadInput(f"--allow-leak shared-patients with --protocol {config.protocol}: give one")
    if config.protocol is None and (config.fold, config.setting) != (None, None):
        raise BadInput("--fold and --setting need a --protocol")
    if config.protocol and None in (config.fold, config.setting):
        raise BadInput(f"--protocol {config.protocol} needs --fold and --setting")
    if config.protocol and (config.val_organs or config.test_patients):
        raise BadInput(
            f"--protocol {config.protocol} says who is held out, and has no validation: leave out "
            "--val-organs and --test-patients"
        )
    for dashboard in config.track:
        package(dashboard)
    if config.init_from and config.algorithm == "scratch":
        raise BadInput("--init-from with scratch: it begins at random, for every support anew")
    multiple = 2 ** (len(network.widths or (1,)) - 1)
    if tasks.size is not None and tasks.size % multiple:
        raise BadInput(
            f"--tasks.size {tasks.size}: a network of {len(network.widths)} levels needs a "
            f"multiple of {multiple}"
        )


def refuse_own(config: Config) -> None:
    """Refuse a network of a user's own that cannot be imported or does not answer, before anything
    is done."""
    if config.network.kind == "own":
        own_network(config.network.function, 1, config.tasks.size)


def refuse_unused(config: Config) -> None:
    """Refuse options that would have no effect beside others, and parts that are missing."""
    network, loss, outer = config.network, config.loss, config.outer
    has = {
        "unet": ("groups", "prior", "widths"),
        "instance-unet": ("widths",),
        "own": ("function",),
    }
    for name in ("groups", "prior", "widths", "function"):
        own = name in has.get(network.kind, ())
        if (getattr(network, name) is not None) != own:
            what = "needs a value" if own else "must be None"
            raise BadInput(f"--network.{name} with --network.kind {network.kind}: {what}")
    for name in ("cross_entropy", "dice") if config.algorithm not in PROMPTED else ():
        if (getattr(loss, name) is None) != (loss.of_slice is not None):
            what = "must be None" if loss.of_slice else "needs a value"
            option = f"--loss.{name.replace('_', '-')}"
            raise BadInput(f"{option} with --loss.of-slice {loss.of_slice}: {what}")
    if outer.weight_decay and outer.optimizer != "adamw":
        raise BadInput(
            f"--outer.weight-decay with --outer.optimizer {outer.optimizer}: adamw has it"
        )
    if config.task_weights != TaskWeights() and config.algorithm != "metamedseg":
        raise BadInput(f"--task-weights with {config.algorithm}: only metamedseg weighs its tasks")
    if config.task_weights.rule == "uniform" and config.task_weights.invert:
        raise BadInput(
            "--task-weights.invert with --task-weights.rule uniform: all alike, either way around"
        )
    if (config.task_weights.rule == "target") != ("target-labels" in config.allow_leak):
        raise BadInput(
            "--task-weights.rule target looks at labels of the organs under test: it needs "
            "--allow-leak target-labels, and nothing else does"
        )
    if config.task_weights.rule == "target" and not config.test_organs:
        raise BadInput("--task-weights.rule target needs --test-organs to look at")
    if config.tasks.kind in ("volumes", "pooled") and config.algorithm not in (
        "metamedseg",
        "reptile",
        "transfer",
        "sam",
    ):
        raise BadInput(
            f"--tasks.kind {config.tasks.kind} with {config.algorithm}: its query teaches, so it "
            "needs episodes"
        )
    if config.tasks.kind == "supervoxels" and config.algorithm == "transfer":
        raise BadInput("--tasks.kind supervoxels with transfer: they have no output each")
    usual = Tasks()
    for name in ("support_patients", "negative_fraction", "single_patients"):
        if config.tasks.kind != "episodes" and getattr(config.tasks, name) != getattr(usual, name):
            option = f"--tasks.{name.replace('_', '-')}"
            raise BadInput(f"{option} with --tasks.kind {config.tasks.kind}: it is for episodes")
    if config.tasks.decathlon and config.tasks.kind not in ("volumes", "pooled"):
        raise BadInput(
            f"--tasks.decathlon with --tasks.kind {config.tasks.kind}: it has no weights"
        )


PROMPTED = ("sam", "ssm-sam")


def of_sam(network: Network) -> bool:
    """Tell the networks of Segment Anything."""
    return network.kind in KINDS


def refuse_unprompted(config: Config) -> None:
    """Refuse what Segment Anything and SSM-SAM cannot be made of, and what nobody else has."""
    network, tasks, algorithm = config.network, config.tasks, config.algorithm
    if of_sam(network) != (algorithm in PROMPTED):
        raise BadInput(
            f"--network.kind {network.kind} with {algorithm}: kinds {KINDS} are of {PROMPTED}"
        )
    own = algorithm == "ssm-sam"
    if (network.adapter is not None) != own:
        raise BadInput(
            f"--network.adapter {network.adapter} with {algorithm}: ssm-sam has one, no other"
        )
    for name in ("adapter_width", "last_blocks"):
        if getattr(network, name) is not None and not own:
            raise BadInput(f"--network.{name.replace('_', '-')} with {algorithm}: it is ssm-sam's")
    if (tasks.kind == "chunks") != own:
        raise BadInput(
            f"--tasks.kind {tasks.kind} with {algorithm}: chunks are ssm-sam's tasks, and its only "
            "ones"
        )
    for name in ("width", "stride"):
        if (getattr(tasks, name) is not None) != own:
            what = "needs a value" if own else "is for chunks"
            raise BadInput(f"--tasks.{name} with {algorithm}: {what}")
    if tasks.across and not own:
        raise BadInput("--tasks.across: it is for chunks")
    if config.prompted != Prompted() and not own:
        raise BadInput(f"--prompted with {algorithm}: it is ssm-sam's")
    if config.prompted.raw_colors and not tasks.as_uint8:
        raise BadInput("--prompted.raw-colors needs --tasks.as-uint8, whose slices are from 0 to 1")
    if config.feature_cache and (not own or config.augment != STILL):
        what = (
            "needs slices as they are: the presets ssm-sam have no --augment"
            if own
            else "is for ssm-sam"
        )
        raise BadInput(f"--feature-cache {config.feature_cache}: {what}")
    if config.prompted.dropout >= 1:
        raise BadInput(f"--prompted.dropout {config.prompted.dropout}: must be below 1")
    if algorithm in PROMPTED and config.loss != OWN_LOSS:
        raise BadInput(f"--loss with {algorithm}: it has its own; all three parts must be None")
    if network.kind == "sam" and config.init_from is None:
        raise BadInput(
            "--network.kind sam needs --init-from: a folder that convert_sam wrote, or a run of "
            "sam; without weights there is --network.kind sam-tiny"
        )
    if tasks.size and own:
        ssm_network(config)
    elif tasks.size and algorithm == "sam":
        size_of(config)


def refuse_foreign(algorithm: str, inner: Inner) -> None:
    """Refuse an option that the algorithm does not have, and one left out that it needs."""
    for field in dataclasses.fields(Inner):
        value, own = getattr(inner, field.name), getattr(INNER[algorithm], field.name)
        option = f"--inner.{field.name.replace('_', '-')}"
        if value is not None and own is None:
            owners = [a for a, other in INNER.items() if getattr(other, field.name) is not None]
            raise BadInput(f"{option} with {algorithm}: only {', '.join(owners)} can have it")
        if value is None and own is not None:
            raise BadInput(f"{option}: {algorithm} needs a value, for instance {own}")
    if inner.order == 1 and inner.memory != "remat":
        raise BadInput(f"--inner.memory {inner.memory} at --inner.order 1: it keeps no activations")
