"""How a configuration becomes a learner, and what the learner learns from."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import jax
import optax
from jax.sharding import Mesh
from jaxtyping import PyTree

from jaxmeta.augmentation.augment import augment
from jaxmeta.cohorts.synthesize import CohortShape, synthesize
from jaxmeta.data.released import slices_as
from jaxmeta.data.shards.shards import Shards, open_shards
from jaxmeta.errors import BadInput
from jaxmeta.learners.episodic import episodic
from jaxmeta.learners.learner import Learner
from jaxmeta.methods import method_of
from jaxmeta.methods.networks import network_of
from jaxmeta.methods.options import Episodes, Outer
from jaxmeta.methods.parts import rate_schedule
from jaxmeta.parallel.devices import side_by_side
from jaxmeta.parallel.over_tasks import over_tasks
from jaxmeta.runs.config import Config
from jaxmeta.splits.pool import Pool, pool
from jaxmeta.splits.split import Split
from jaxmeta.tasks.prompter import Prompter, prompted
from jaxmeta.tasks.source import Source
from jaxmeta.tasks.supervoxels import unlabelled_pool
from jaxmeta.tasks.synthetic import scanless_pool
from jaxmeta.tasks.task import Examples, Task
from jaxmeta.tasks.volumetric import load_target, target_slices


def open_data(config: Config, folders: Sequence[Path] = ()) -> Shards:
    """Open the data of a run, or other folders, as the run sees slices."""
    return open_shards(folders or config.data)._replace(preprocessing=slices_as(config.released))


def training_pool(
    config: Config, shards: Shards, division: Split, hidden: Mapping[int, frozenset[int]]
) -> Pool:
    """Gather who may be trained on: labelled structures, scans with supervoxels, or nobody."""
    tasks = config.tasks
    if isinstance(tasks, Episodes) and tasks.kind == "supervoxels":
        return unlabelled_pool(shards, division, hidden)
    if synthetic(config):
        return scanless_pool(shards)
    return pool(shards, division, "train", single_patients=singles(config), hidden=hidden)


def synthetic(config: Config) -> bool:
    """Tell whether tasks are made on the device, of no scan."""
    return isinstance(config.tasks, Episodes) and config.tasks.kind == "synthetic"


def singles(config: Config) -> bool:
    """Tell whether organs of one patient are learned from too."""
    by_labels = method_of(config.method).by_labels
    return by_labels or (isinstance(config.tasks, Episodes) and config.tasks.single_patients)


def target_examples(config: Config, shards: Shards, division: Split) -> Examples | None:
    """Read the slices of the organs under test that a method looks at in training, if it does."""
    count = method_of(config.method).target_slices(config)
    if not count:
        return None
    chosen = target_slices(shards, division, count)
    how = dict(size=config.tasks.size, spacing=config.tasks.mm)
    return load_target(shards, chosen, count, **how)


def task_source(config: Config, drawn: Pool, *, training: bool = True) -> Source:
    """Make what tasks are drawn from, of who may be drawn; slices come with their prompts."""
    source = method_of(config.method).source(config, drawn, training=training)
    prompter = prompter_of(config)
    return (
        prompted(source, prompter, config.tasks.mm) if prompter and not source.on_device else source
    )


def prompter_of(config: Config) -> Prompter | None:
    """Find what slices are given beside their pixels: by the method, or else by the network."""
    return method_of(config.method).testing.prompter or network_of(config).prompter(config)


def build(
    config: Config,
    *,
    mesh: Mesh | None = None,
    testing: bool = False,
    test_steps: int | None = None,
    network: PyTree = None,
    target: Examples | None = None,
    backbone: PyTree = (),
) -> Learner:
    """Make the learner that trains, or when `testing` predicts.

    `test_steps` stands in for those of the configuration; `network` are variables to begin with,
    `target` the slices of organs under test that a method looks at, `backbone` frozen weights that
    no checkpoint holds.
    """
    if test_steps is not None:
        own = dataclasses.replace(config.method, test_steps=test_steps)
        config = dataclasses.replace(config, method=own)
    method = method_of(config.method)
    augment = None if config.feature_cache != "off" else changed(config)
    if method.learner:
        return method.learner(config, network, augment, mesh)
    made = method.algorithm(config, network, testing=testing, target=target)
    return episodic(
        made,
        outer_rule(config.outer, config.steps),
        partial(over_tasks, mesh=mesh, chunk=at_once(config, mesh)),
        augment=augment,
        backbone=backbone,
    )


def changed(config: Config) -> Callable[[Task], Task]:
    """Make what a device does to a task before it is learned from: where its tasks are synthetic
    it makes one, and augments it like any other."""
    tasks = config.tasks
    if not synthetic(config):
        return lambda task: augment(task, config.augment)
    shape = CohortShape(tasks.shots, tasks.queries, tasks.size, tasks.negative_fraction)

    def made(task: Task) -> Task:
        cohort = synthesize(config.seed, task.task_id[0], shape)
        return augment(cohort._replace(key=task.key), config.augment)

    return made


def outer_rule(outer: Outer, steps: int) -> optax.GradientTransformation:
    """Make the optimizer of the meta-parameters for a training of so many steps."""
    rate = rate_schedule(outer, steps)
    if outer.optimizer == "adamw":
        rule = optax.adamw(rate, weight_decay=outer.weight_decay, mask=learned_leaves)
    else:
        rule = optax.sgd(rate)
    return optax.chain(optax.clip_by_global_norm(outer.clip), rule) if outer.clip else rule


def learned_leaves(tree: PyTree) -> PyTree:
    """Tell what weights decay: all but what is drawn once and has no gradient."""
    return jax.tree_util.tree_map_with_path(
        lambda path, _: path[-1] != jax.tree_util.DictKey("frequencies"), tree
    )


def at_once(config: Config, mesh: Mesh | None) -> int:
    """Say how many of its tasks a device does at once."""
    if mesh is None:
        return 1
    each, asked = config.tasks.batch_size // mesh.size, config.tasks.vmap
    if asked and each % asked:
        raise BadInput(f"`tasks.vmap={asked}`: does not divide the {each} tasks of a device")
    return asked or side_by_side(config.tasks.batch_size, mesh)
