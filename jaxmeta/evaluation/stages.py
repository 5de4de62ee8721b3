"""What is done before a training whose beginning is another training: of the network that SSM-SAM
adapts, or of the one that gives MLB-Seg its initial labels."""

import dataclasses

from jaxmeta.evaluation.labelling import label, refuse_unlabellable
from jaxmeta.evaluation.pretraining import PASSED_ON
from jaxmeta.methods import method_of
from jaxmeta.progress import say
from jaxmeta.runs.checks import check
from jaxmeta.runs.config import Config
from jaxmeta.runs.presets import PRESETS
from jaxmeta.runs.released import refuse_tiny
from jaxmeta.runs.train import meta_train

# What says who may see what, and is the same for the network that a run begins with.
SPLIT = ("data", "test_organs", "val_organs", "train_organs", "test_patients", "protocol", "fold")
SPLIT += ("setting", "seed", "distributed")
# And how slices are read.
READ = ("size", "spacing", "least_pixels")


def begun(config: Config) -> Config:
    """Train what a run begins with, and label what it needs labelled; return the run's
    configuration. What is there already is left as it is."""
    method = method_of(config.method)
    if method.frozen and config.origin is None:
        return on_tiny(config)
    if method.first is None or not config.method.bootstraps:
        return config
    check(config)
    refuse_unlabellable(config)
    if (first := method.first(config)) is not None:
        say("stage 1 of 2: a network of the labelled patients alone")
        config = dataclasses.replace(config, init_from=meta_train(first))
    label(config)
    say("stage 2 of 2: bootstrapping from both")
    return config


def on_tiny(config: Config) -> Config:
    """Train the network that SSM-SAM adapts, on what the run may see; return a run that begins with
    it."""
    workdir = config.workdir / "sam"
    refuse_tiny(config)
    seen = {name: getattr(config, name) for name in SPLIT}
    read = {name: getattr(config.tasks, name) for name in READ}
    usual = PRESETS["sam-tiny"].config
    tasks = dataclasses.replace(usual.tasks, **read)
    allowed = tuple(kind for kind in config.allow_leak if kind in PASSED_ON)
    first = dataclasses.replace(usual, workdir=workdir, tasks=tasks, allow_leak=allowed, **seen)
    say(
        f"no `init_from`: first {workdir}, on source organs of this split alone; no published "
        "weights"
    )
    return dataclasses.replace(config, init_from=meta_train(first))
