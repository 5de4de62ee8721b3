"""How the segmenters of a run are made: the method's own, and baselines that begin elsewhere.

`segmenter_maker` turns (where to begin, how to fine-tune) into segmenters that share what is
compiled. For tests and for predictions alike; how each is tuned is `settings.py`'s business.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any

import jax
import numpy as np
import optax

from jaxmeta.evaluation.finetune import Finetune, applied, finetuned, pass_by_pass
from jaxmeta.evaluation.segmenter import Segmenter, networks
from jaxmeta.learners.episodic import with_backbone
from jaxmeta.learners.learner import Predictor
from jaxmeta.methods import method_of
from jaxmeta.methods.networks import network_of
from jaxmeta.methods.parts import network_and_loss
from jaxmeta.methods.testing import BY_SLICE, OWN, OwnRule
from jaxmeta.parallel.devices import replicate, side_by_side, task_mesh
from jaxmeta.runs.build import build, prompter_of
from jaxmeta.runs.run import Run
from jaxmeta.tasks.prompter import remembering

# plain: nothing differentiates them
UNIT_RULES = {"sgd": optax.sgd(1.0), "adam": optax.adam(1.0), BY_SLICE: optax.adam(1.0)}


def segmenter_maker(
    run: Run, support_sets: int, transfer: Run | None = None
) -> Callable[..., Segmenter]:
    """Make (name, begin, setting) -> Segmenter; begin is "adapted", "scratch" or "transfer", of
    a method whose rows all follow its own rule "adapted" or its random row.

    The setting None is no step at all. All fine-tuning by the same optimizer and steps is compiled
    once, wherever it begins and at whatever rate.
    """
    if rule := method_of(run.config.method).testing.own_rule:
        return own_rule_segmenter_maker(run, rule, support_sets)
    parts = cache(partial(network_and_loss, run.config, testing=True))  # whoever walks asks
    once, told = (
        compiled_once(support_sets),
        dict(prompter=network_of(run.config).prompter(run.config)),
    )

    def begin(kind: str) -> Segmenter:
        if kind == "scratch":
            return once(kind, lambda: fresh(parts()[0]), **told)("scratch, no adaptation", ())
        of = run if kind == "adapted" else transfer
        still = once(kind, lambda: predictor_with_steps(of, 0), **told_by(of))
        return still(f"{kind}, no adaptation", of.state)

    def make(name: str, kind: str, setting: Finetune | None) -> Segmenter:
        if setting is None:
            return begin(kind)._replace(name=name)
        steps = setting.steps
        if setting.optimizer == OWN:
            own = once((kind, steps), lambda: predictor_with_steps(run, steps), **told_by(run))
            return own(name, run.state)
        walk = pass_by_pass if setting.optimizer == BY_SLICE else finetuned
        update = UNIT_RULES[setting.optimizer]
        tuned = once((setting.optimizer, steps), lambda: walk(*parts(), update, steps), **told)
        return tuned(name, np.float32(setting.rate), begin(kind))

    return make


def own_rule_segmenter_maker(
    run: Run, rule: OwnRule, support_sets: int
) -> Callable[..., Segmenter]:
    """Make rows that all follow the method's own rule: from where the run ended, or at random, with
    what it learns drawn anew by each support's key on the same backbone.

    All segment by what is compiled for the first.
    """
    once = compiled_once(support_sets)
    state, still = replicate(run.state, task_mesh(support_sets)), predictor_with_steps(run, 0)
    begins = {"adapted": still, rule.random_row: from_random(run, still)}

    def begin(kind: str) -> Segmenter:
        return once(kind, lambda: begins[kind])(kind, state)

    def make(name: str, kind: str, setting: Finetune | None) -> Segmenter:
        if kind not in begins or (setting and setting.optimizer != OWN):
            raise ValueError(f"{kind}, {setting}: {run.config.algorithm} has no such row")
        row, shown = begin(kind), begin("adapted")
        if setting and setting.steps:
            walk = once(setting.steps, lambda: walking_on(run, rule, setting.steps))
            row = walk(name, (np.float32(setting.rate), state), row)
        return row._replace(name=name, segment=shown.segment, segment_each=shown.segment_each)

    return make


def told_by(run: Run) -> dict:
    """Say what a run's own network is told of slices besides."""
    return dict(prompter=prompter_of(run.config))


def compiled_once(support_sets: int) -> Callable[..., Callable[..., Segmenter]]:
    """Make (what, predictor, ...) -> what makes its segmenters; each asks for its predictor once.

    What else is given goes to `networks`.
    """
    chunk, compiled = side_by_side(support_sets, task_mesh(support_sets)), {}
    asked = {}  # prompters: rows ask about the same volumes

    def once(what, predictor: Callable[[], Callable], **how) -> Callable[..., Segmenter]:
        if what not in compiled:
            if prompter := how.get("prompter"):
                asked.setdefault(prompter, remembering(prompter))
                how = how | dict(prompter=asked[prompter])
            how = dict(support_sets=support_sets, chunk=chunk) | how
            compiled[what] = networks(predictor(), **how)
        return compiled[what]

    return once


def walking_on(run: Run, own_rule: OwnRule, steps: int) -> Callable[[Any], Predictor]:
    """Walk from where another row begins by the method's own rule; the state is (a multiple of its
    rate, the run's state)."""

    def predictor(given) -> Predictor:
        times, state = given
        own = run.config.method
        own = own_rule.at_rate(own, times * own_rule.rate(own))
        at_rate = run._replace(config=replace(run.config, method=own))
        rule = predictor_with_steps(at_rate, steps)

        def adapt_to(begun, key):
            support, phi = begun
            learned = state.meta.learned | {"theta": phi.learned}
            meta = state.meta._replace(learned=learned)
            return rule(state._replace(meta=meta)).adapt(support, key)

        return rule(state)._replace(adapt=adapt_to)

    return predictor


def from_random(run: Run, predictor: Callable[[Any], Predictor]) -> Callable[[Any], Predictor]:
    """Begin at parameters drawn anew for every support, on the same backbone."""
    init = build(run.config).init

    def fresh_predictor(state) -> Predictor:
        def adapt_to(support, key):
            fresh, walk = jax.random.split(key)
            begun = with_backbone(init(fresh), state.meta.backbone)
            return predictor(begun).adapt(support, walk)

        return predictor(state)._replace(adapt=adapt_to)

    return fresh_predictor


def predictor_with_steps(run: Run, steps: int) -> Callable[[Any], Predictor]:
    """Make the predictor of a run's own method, with another number of steps."""
    steps = steps if method_of(run.config.method).adapts else None
    return build(run.config, testing=True, test_steps=steps).predictor


def fresh(model) -> Callable[[Any], Predictor]:
    """Begin at random weights, drawn with each support's key."""
    return lambda state: Predictor(lambda support, key: model.init(key), applied(model))
