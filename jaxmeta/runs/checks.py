"""What no run can be made of, refused in one line before anything is done."""

from jaxmeta.errors import BadInput
from jaxmeta.methods import method_of
from jaxmeta.methods.options import Chunks, Episodes, OwnLoss, Volumes
from jaxmeta.runs.config import Config
from jaxmeta.runs.presets import STILL
from jaxmeta.training.dashboards import package


def check(config: Config) -> None:
    """Refuse in one line what no run can be made of."""
    tasks, own, method = config.tasks, config.method, method_of(config.method)
    least = {
        "steps": (config.steps, 0),
        "checkpoint_every": (config.checkpoint_every, 1),
        "seed": (config.seed, 0),
        "validation_tasks": (config.validation_tasks, 1),
        "tasks.batch_size": (tasks.batch_size, 0),
        "tasks.vmap": (tasks.vmap, 0),
        "tasks.size": (tasks.size, 0),
        "tasks.shots": (tasks.shots, 1),
        "tasks.queries": (tasks.queries, 1),
        "tasks.least_pixels": (tasks.least_pixels, 1),
        "tasks.spacing": (0 if tasks.spacing == "shards" else tasks.spacing, 0),
        "augment.elastic_cells": (config.augment.elastic_cells, 1),
        "outer.clip": (config.outer.clip, 0),
    }
    for name, limit in (
        *(("steps", 0), ("test_steps", 0), ("augment", 0), ("clip", 0), ("cg_steps", 1)),
        ("features", 1),
    ):
        if hasattr(own, name):
            least[f"method.{name}"] = (getattr(own, name), limit)
    for name, (value, limit) in least.items():
        if value < limit:
            raise BadInput(f"`{name}={value}`: must be at least {limit}")
    if getattr(own, "order", 2) == 1 and getattr(own, "memory", "remat") != "remat":
        raise BadInput(f"`method.memory={own.memory}` at `method.order=1`: it keeps no activations")
    check_parts(config)
    method.check(config)
    check_split(config)
    for dashboard in config.track:
        package(dashboard)


def check_parts(config: Config) -> None:
    """Refuse groups of options that do not go together."""
    tasks, outer, method = config.tasks, config.outer, method_of(config.method)
    if method.own_step and outer.optimizer != "sgd":
        raise BadInput(f"`outer.optimizer={outer.optimizer}` with {method.name}: it has SGD")
    if outer.weight_decay and outer.optimizer != "adamw" and not method.own_step:
        raise BadInput(
            f"`outer.weight_decay` with `outer.optimizer={outer.optimizer}`: adamw has it"
        )
    if isinstance(tasks, Volumes) and method.query_teaches:
        raise BadInput(
            f"tasks of volumes with {method.name}: its query teaches, so it needs episodes"
        )
    if isinstance(tasks, Chunks) != method.chunks:
        raise BadInput(f"tasks of chunks with {method.name}: they are ssm-sam's, and its only ones")
    if isinstance(config.loss, OwnLoss) != method.own_loss:
        raise BadInput(f"the loss of {method.name}: it has its own, or needs one")
    if isinstance(tasks, Episodes) and tasks.kind != "episodes":
        usual, foreign = Episodes(), ("support_patients", "single_patients")
        more = dict(supervoxels="negative_fraction", synthetic="least_pixels")
        for name in (*foreign, more[tasks.kind]):
            if getattr(tasks, name) != getattr(usual, name):
                raise BadInput(f"`tasks.{name}` with `tasks.kind={tasks.kind}`: it is for episodes")
        if tasks.kind == "synthetic" and method.pointed_at:
            raise BadInput(
                f"`tasks.kind=synthetic` with {method.name}: they have a support, which it lacks"
            )
    if config.feature_cache != "off" and (method.frozen_part is None or config.augment != STILL):
        what = (
            "needs slices as they are: the presets ssm-sam have no `augment`"
            if method.frozen_part
            else "is for ssm-sam"
        )
        raise BadInput(f"`feature_cache={config.feature_cache}`: {what}")
    if config.origin and method.from_random:
        raise BadInput(
            f"`init_from` with {method.name}: it begins at random, for every support anew"
        )


def check_labelled(config: Config) -> None:
    """Refuse labelled patients where none are asked for, and a split without them where they
    are."""
    by_labels = method_of(config.method).by_labels
    own = ("organ", "labelled", "unlabelled")
    if not by_labels:
        for name in (*own, "test_each"):
            if getattr(config, name):
                raise BadInput(
                    f"`{name}` with {config.algorithm}: it is for what learns one organ from "
                    "labelled patients, as supervised does"
                )
        return
    for name in ("organ", "labelled", "test_patients"):
        if not getattr(config, name):
            raise BadInput(f"{config.algorithm} needs `{name}`")
    for name in ("test_organs", "val_organs", "train_organs"):
        if getattr(config, name):
            raise BadInput(f"`{name}` with {config.algorithm}: its one organ is `organ`")
    if config.protocol != "few-shot":
        raise BadInput(f"`protocol={config.protocol}` with {config.algorithm}: it is few-shot's")


def check_split(config: Config) -> None:
    """Refuse data and splits that contradict each other."""
    check_labelled(config)
    if config.distributed and not config.data:
        raise BadInput("`distributed` needs `data`: each process would write phantoms of its own")
    if isinstance(config.tasks, Volumes) and config.tasks.decathlon and not config.data:
        raise BadInput(
            "`tasks.decathlon` needs `data`: shards of the Medical Segmentation Decathlon; for "
            "phantoms or other data `tasks.decathlon=False`, or the preset metamedseg-small"
        )
    if bool(method_of(config.method).target_slices(config)) != (
        "target-labels" in config.allow_leak
    ):
        raise BadInput(
            "`method.task_weights.rule=target` looks at labels of the organs under test: it needs "
            "`allow_leak=target-labels`, and nothing else does"
        )
    by_protocol = config.protocol != "few-shot"
    if by_protocol and "shared-patients" in config.allow_leak:
        raise BadInput(f"`allow_leak=shared-patients` with `protocol={config.protocol}`: give one")
    if not by_protocol and (config.fold, config.setting) != (0, 1):
        raise BadInput("`fold` and `setting` are of `protocol=alpnet`")
    if by_protocol and (config.val_organs or config.test_patients):
        raise BadInput(
            f"`protocol={config.protocol}` says who is held out, and has no validation: leave out "
            "`val_organs` and `test_patients`"
        )
