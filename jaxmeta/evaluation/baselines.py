"""The rows that keep a method honest: a new one is a value in `BASELINES`.

Those that are tuned begin somewhere else than the method and are fine-tuned by a setting of their
own (`fitting.py`, `settings.py`); the upper bounds are trained on all labels
(`fully_supervised.py`); the others are made here.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from jaxmeta.evaluation.finetune import Tuned
from jaxmeta.evaluation.segmenter import Segmenter
from jaxmeta.evaluation.untrained import nearest_support_mask, place_and_intensity
from jaxmeta.methods import ALL, Method

METHOD = "adapted"
SCRATCH, TRANSFER = "scratch", "transfer"
UNTRAINED = "place and intensity, no training"
BOUND, FULL = "fully supervised", "adapted, all slices"  # which saw all labels but those asked


class Baseline(NamedTuple):
    """A row beside the method's own.

    `make(maker, method)` makes what is not tuned, where `maker(name, begin, setting)` makes what
    begins somewhere.
    """

    name: str
    note: str = ""  # for the report
    make: Callable[[Callable, Segmenter], Segmenter] | None = None
    tuned: bool = False  # by a setting of its own
    usual: bool = True  # among the default baselines, not only where all are asked for
    own: bool = False  # of each method that fine-tunes, so no comparison of methods has it
    by_run: bool = False  # trained for each run, so every report of a comparison must have it
    all_labels: bool = False  # answers another question, so no difference to it is taken


OWN_RULES = tuple(each.testing.own_rule for each in ALL if each.testing.own_rule)
BASELINES = (
    Baseline(
        "no adaptation",
        "the method before any step on the support",
        make=lambda make, method: make("no adaptation", METHOD, None)._replace(
            segment=method.segment  # compiled once
        ),
        own=True,
    ),
    Baseline(
        "nearest support mask",
        "the support slice's mask at the nearest relative height, none far from all of them",
        make=lambda make, method: nearest_support_mask("nearest support mask"),
    ),
    Baseline(
        UNTRAINED,
        "the support as an atlas, moved to the query's body: patches, intensities, EM on the query",
        make=lambda make, method: place_and_intensity(UNTRAINED),
    ),
    Baseline(SCRATCH, tuned=True),
    *(Baseline(rule.random_row, rule.random_note, tuned=True) for rule in OWN_RULES),
    Baseline(TRANSFER, tuned=True, usual=False, by_run=True),
    Baseline(
        BOUND,
        "the same network, trained on all labels of everybody not tested by it: an upper bound",
        usual=False,
        by_run=True,
        all_labels=True,
    ),
    Baseline(
        FULL,
        "the method's network, likewise trained on all these labels",
        usual=False,
        own=True,
        all_labels=True,
    ),
)
NOTES = {each.name: each.note for each in BASELINES if each.note}
WITH_ALL_LABELS = tuple(each.name for each in BASELINES if each.all_labels)
OWN_ROWS = (METHOD, *(each.name for each in BASELINES if each.own))
BY_RUN = tuple(each.name for each in BASELINES if each.by_run)


def random_row(method: Method) -> str:
    """Name the row of a method's test that begins at random parameters."""
    return method.testing.own_rule.random_row if method.testing.own_rule else SCRATCH


def segmenters_of(
    make: Callable[..., Segmenter],
    settings: Mapping[str, Tuned],
    baselines: str,
    *,
    walks: bool = True,
) -> tuple[list[Segmenter], dict[str, list[str]]]:
    """List what is to be computed, the method first; and by its name, what each is in the table.

    `baselines` is "none", "default" or "all"; a method that never `walks` has none of what is its
    own. A baseline whose best setting has as many steps as the method is computed once, for both
    its lines.
    """
    method = make(METHOD, METHOD, settings[METHOD].finetune)
    if baselines == "none":
        return [method], {method.name: [method.name]}
    made = [each for each in BASELINES if each.make and (walks or not each.own)]
    segmenters = [method, *(each.make(make, method) for each in made)]
    usual = [each.name for each in BASELINES if each.tuned and each.usual and each.name in settings]
    same = {}
    for name in usual if baselines == "default" else sorted(settings.keys() - {METHOD}):
        same.setdefault((name.split(",")[0], settings[name].finetune), []).append(name)
    segmenters += [make(own[0], kind, finetune) for (kind, finetune), own in same.items()]
    lines = {each.name: [each.name] for each in segmenters}
    return segmenters, lines | {own[0]: own for own in same.values()}
