"""The rows of a test: the method of a run, and what it must beat. For `meta_test` and `predict`.

`row_maker` turns (where to begin, how to fine-tune) into rows that share what is compiled. What the
settings are is `settings.py`'s business.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax

from jaxmeta.augmentation.augment import Augmentation, upright, varied
from jaxmeta.errors import BadInput, Occupied
from jaxmeta.evaluation.finetune import (
    BY_SLICE,
    Finetune,
    applied,
    finetuned,
    pass_by_pass,
    supervised,
)
from jaxmeta.evaluation.segmenter import Row, networks
from jaxmeta.learners.episodic import with_backbone
from jaxmeta.learners.learner import Predictor
from jaxmeta.parallel.devices import replicate, side_by_side, task_mesh
from jaxmeta.runs.build import build, model_and_loss
from jaxmeta.runs.config import Config, TaskWeights
from jaxmeta.runs.presets import with_algorithm
from jaxmeta.runs.run import Run, open_run
from jaxmeta.runs.train import meta_train
from jaxmeta.training import metrics_log

# Rows that saw all labels but those they are tested on.
BOUND, FULL = "supervised", "adapted, all slices"
PASSED_ON = ("organs", "patients", "contents")  # leaks of a split, which its pre-training has too
RANDOM = "random initialization"  # of SSM-SAM: its frozen encoder, and nothing learned on it
SUPERVISED = Finetune("adam", 3e-3, 800)
SLICE_EPOCHS, SLICE_RATE, SLICE_DECAY = 20, 1e-3, 3e-5  # MetaMedSeg's, with all slices
OWN = "own"  # the method's own inner rule, with its own (learned) rates
# plain: nothing differentiates them
OPTIMIZERS = {"sgd": optax.sgd(1.0), "adam": optax.adam(1.0), BY_SLICE: optax.adam(1.0)}


def pretrained(run: Run, folder: str, augment: Augmentation) -> Run:
    """Pre-train transfer on what a run learned from, with as many slice-gradients, in RUN/folder.

    A transfer step differentiates every slice of a task once. The outer rate is the preset's own:
    plain training wants a higher one.
    """
    config, tasks = run.config, run.config.tasks
    steps = round(config.steps * slice_gradients(config) / (tasks.shots + tasks.queries))
    preset = with_algorithm(config, "transfer")
    as_usual = config.outer.optimizer == preset.outer.optimizer
    outer = dataclasses.replace(config.outer, rate=preset.outer.rate) if as_usual else preset.outer
    draw = "episodes" if tasks.kind == "supervoxels" else tasks.kind  # which have no output each
    transfer = dataclasses.replace(
        preset,
        inner=dataclasses.replace(preset.inner, augment=config.inner.augment or 0.0),
        outer=outer,
        task_weights=TaskWeights(),
        allow_leak=tuple(kind for kind in config.allow_leak if kind in PASSED_ON),
        tasks=dataclasses.replace(tasks, kind=draw),
        augment=augment,
        workdir=run.folder / folder,
        steps=steps,
        checkpoint_every=max(1, steps // 5),
        test_patients=run.split.test_patients,
    )
    print(f"pre-training transfer for {steps} steps: as many slice-gradients as the run had")
    try:
        return open_run(meta_train(transfer))
    except Occupied:
        raise BadInput(
            f"{transfer.workdir} was pre-trained with other settings: remove it, or name it, or "
            "another, with --transfer"
        ) from None


def slice_gradients(config: Config) -> int:
    """Count the slices that a task's meta-gradient differentiates, second derivatives left aside.

    The support is seen in each inner step and by each product of an implicit meta-gradient, or once
    where nothing is walked; the query once.
    """
    inner, tasks = config.inner, config.tasks
    passes = 1 if inner.steps is None else inner.steps + (inner.cg_steps or 0)
    return passes * tasks.shots + tasks.queries


def fine_tunes(config: Config) -> bool:
    """Tell whether a method ends in a network that walks down the support's loss."""
    return config.inner.test_steps is not None


def heads(transfer: Run) -> dict[str, float]:
    """Give the Dice of each pre-training head over the last quarter of the training.

    A transfer baseline with dead heads would be too easy to beat; a head whose structure was not
    even drawn there has 0.
    """
    lines = [
        line
        for line in metrics_log.read_metrics(transfer.folder / "metrics.jsonl")
        if "task_dice" in line
    ]
    seen = {name: [] for name in sorted(transfer.config.structures)}
    for line in lines[-max(1, len(lines) // 4) :]:
        for number, dice in zip(line["structures"], line["task_dice"], strict=True):
            seen[transfer.config.structures[number]].append(dice)
    return {name: float(np.mean(of)) if of else 0.0 for name, of in seen.items()}


def row_maker(run: Run, support_sets: int, transfer: Run | None = None) -> Callable[..., Row]:
    """Make (name, begin, setting) -> Row; begin is "adapted", "scratch" or "transfer", of SSM-SAM
    "adapted" or RANDOM.

    The setting None is no step at all. All fine-tuning by the same optimizer and steps is compiled
    once, wherever it begins and at whatever rate.
    """
    if run.config.algorithm == "ssm-sam":
        return prompted_row_maker(run, support_sets)
    model, loss = model_and_loss(run.config, testing=True)
    once = compiled_once(support_sets)

    def begin(kind: str) -> Row:
        if kind == "scratch":
            return once(kind, lambda: fresh(model))("scratch, no adaptation", ())
        of = run if kind == "adapted" else transfer
        return once(kind, lambda: predictor_of(of, 0))(f"{kind}, no adaptation", of.state)

    def make(name: str, kind: str, setting: Finetune | None) -> Row:
        if setting is None:
            return begin(kind)._replace(name=name)
        steps = setting.steps
        if setting.optimizer == OWN:
            return once((kind, steps), lambda: predictor_of(run, steps))(name, run.state)
        walk = pass_by_pass if setting.optimizer == BY_SLICE else finetuned
        update = OPTIMIZERS[setting.optimizer]
        tuned = once((setting.optimizer, steps), lambda: walk(model, loss, update, steps))
        return tuned(name, np.float32(setting.rate), begin(kind))

    return make


def prompted_row_maker(run: Run, support_sets: int) -> Callable[..., Row]:
    """Make the rows of SSM-SAM: all follow its own rule, from where the run ended or from the
    frozen image encoder alone (RANDOM), with readers that are drawn with each support's key.

    All segment by what is compiled for the first.
    """
    once = compiled_once(support_sets)
    state, still = replicate(run.state, task_mesh(support_sets)), predictor_of(run, 0)
    begins = {"adapted": still, RANDOM: from_nothing(run, still)}

    def begin(kind: str) -> Row:
        return once(kind, lambda: begins[kind])(kind, state)

    def make(name: str, kind: str, setting: Finetune | None) -> Row:
        if kind not in begins or (setting and setting.optimizer != OWN):
            raise ValueError(f"{kind}, {setting}: SSM-SAM has no such row")
        row, shown = begin(kind), begin("adapted")
        if setting and setting.steps:
            walk = once(setting.steps, lambda: walking_on(run, setting.steps))
            row = walk(name, (np.float32(setting.rate), state), row)
        return row._replace(name=name, segment=shown.segment, segment_each=shown.segment_each)

    return make


def compiled_once(support_sets: int) -> Callable[..., Callable[..., Row]]:
    """Make (what, predictor) -> what makes its rows; the predictor is asked for once under each
    name."""
    chunk, compiled = side_by_side(support_sets, task_mesh(support_sets)), {}

    def once(what, predictor: Callable[[], Callable]) -> Callable[..., Row]:
        if what not in compiled:
            compiled[what] = networks(predictor(), support_sets=support_sets, chunk=chunk)
        return compiled[what]

    return once


def walking_on(run: Run, steps: int) -> Callable[[Any], Predictor]:
    """Walk from where another row begins by SSM-SAM's own rule; the state is (a multiple of its
    rate, the run's state)."""

    def predictor(given) -> Predictor:
        times, state = given
        inner = run.config.inner
        inner = dataclasses.replace(inner, test_rate=times * inner.test_rate)
        at_rate = run._replace(config=dataclasses.replace(run.config, inner=inner))
        rule = predictor_of(at_rate, steps)

        def adapt_to(begun, key):
            support, phi = begun
            learned = state.meta.learned | {"theta": phi.learned}
            meta = state.meta._replace(learned=learned)
            return rule(state._replace(meta=meta)).adapt(support, key)

        return rule(state)._replace(adapt=adapt_to)

    return predictor


def from_nothing(run: Run, predictor: Callable[[Any], Predictor]) -> Callable[[Any], Predictor]:
    """Begin at parameters drawn anew for every support, on the same backbone."""
    init = build(run.config).init

    def fresh_predictor(state) -> Predictor:
        def adapt_to(support, key):
            fresh, walk = jax.random.split(key)
            begun = with_backbone(init(fresh), state.meta.backbone)
            return predictor(begun).adapt(support, walk)

        return predictor(state)._replace(adapt=adapt_to)

    return fresh_predictor


def predictor_of(run: Run, steps: int) -> Callable[[Any], Predictor]:
    """Make the predictor of a run's own method, with another number of steps."""
    steps = steps if fine_tunes(run.config) else None
    return build(run.config, testing=True, test_steps=steps).predictor


def upper_bounds(
    run: Run, folds: int, setting: Finetune = SUPERVISED, batch: int = 16
) -> tuple[Row, ...]:
    """Make the rows of the same network trained on all labels but those it is tested on.

    The first begins at random weights, the second, of methods that fine-tune, where the run ended.
    Both see images augmented as in the run's training, but for flips and inversion, which would
    make another anatomy of them. MetaMedSeg's go slice by slice, as its paper's code does.
    """
    config = run.config
    model, loss = model_and_loss(config)
    loss = varied(loss, upright(config.augment))
    if config.algorithm == "metamedseg":
        update = optax.chain(optax.add_decayed_weights(SLICE_DECAY), OPTIMIZERS["adam"])
        trained, rate = pass_by_pass(model, loss, update, SLICE_EPOCHS), SLICE_RATE
    else:
        update, rate = OPTIMIZERS[setting.optimizer], setting.rate
        trained = supervised(model, loss, update, setting.steps, batch)
    begun = {BOUND: networks(fresh(model), support_sets=folds)("start", ())}
    if fine_tunes(config):
        begun[FULL] = networks(predictor_of(run, 0), support_sets=folds)("start", run.state)
    compiled = networks(trained, support_sets=folds)
    return tuple(compiled(name, np.float32(rate), begin) for name, begin in begun.items())


def fresh(model) -> Callable[[Any], Predictor]:
    """Begin at random weights, drawn with each support's key."""
    return lambda state: Predictor(lambda support, key: model.init(key), applied(model))
