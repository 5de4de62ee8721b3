"""Test a run on organs and patients that it never saw, beside its baselines.

    python -m experiments.meta_test --run RUN [RUN ...] --shots 5 1

The method is adapted to each held-out organ from K labelled slices of support patients and segments
whole volumes of every other patient who has the organ. Scores are 3-D, at the original resolution.
Several runs make one paired comparison, of seeds of one method or of several methods;
`compare` makes it of runs tested one by one.
"""

import dataclasses
from collections.abc import Sequence

from jaxmeta.commands.command import parse_words, spelled
from jaxmeta.commands.compare import compare, refuse_other_leaks, refuse_twice
from jaxmeta.data.shards.shards import cohort_of
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.leaks import kinds_of_leaks
from jaxmeta.evaluation.outcome import Outcome, labelled_text
from jaxmeta.evaluation.run_test import score_run
from jaxmeta.evaluation.settings import describe_tuning
from jaxmeta.evaluation.test_plan import (
    EvaluationPlan,
    Options,
    check,
    conditions_of,
    plan_test,
)
from jaxmeta.evaluation.tuned import settings_of_other, transfer_run
from jaxmeta.evaluation.tuning import search_settings
from jaxmeta.methods import method_of
from jaxmeta.options import path_or_none
from jaxmeta.parallel import devices
from jaxmeta.reports.pairing import ComparedRun, entered, refuse_overlapping, refuse_unpaired
from jaxmeta.reports.run import write
from jaxmeta.runs.identity import recipe
from jaxmeta.runs.provenance import namesakes
from jaxmeta.runs.run import Run, open_run


def main() -> None:
    """Parse and test."""
    options = parse_words(Options, __doc__)
    devices.begin(options.run[0].resolve().parent / ".compiled")
    test(options)


def test(options: Options) -> list[Outcome]:
    """Test every run, write and print its report, and compare them all."""
    refuse_twice(options.run)
    check(options)
    runs = [prompted(open_run(folder), options) for folder in options.run]
    plans = [plan_test(run, options) for run in runs]  # refused before hours of work, if at all
    refuse_incomparable(runs, plans)
    leaked = [
        kinds_of_leaks(one.leaks, run.config.allow_leak)
        for run, one in zip(runs, plans, strict=True)
    ]
    refuse_other_leaks(list(zip(options.run, leaked, strict=True)), options.allow_leak)
    for run, one in zip(runs, plans, strict=True):
        for shots in one.trials if path_or_none(options.tuned_on) else ():
            settings_of_other(run, shots, options)
    for run, one in zip(runs, plans, strict=True):
        for leak in one.leaks:
            print(f"LEAK {leak.kind}: {spelled(leak.text)}")
        for note in namesakes(run.provenance, one.held) if options.data else ():
            print(f"note: {spelled(note)}")
    if len({one.protocol.folder for one in plans}) > 1:
        raise BadInput("runs that are trained for several protocols: name one --protocol for all")
    outcomes = []
    for number, run in enumerate(runs):
        transfer = transfer_run(run, options, number, plans[number])
        if options.only_tune:
            tell_tuned(run, plans[number], options, transfer)
            continue
        outcomes.append(score_run(run, options, plans[number], transfer))
        print(write(run.folder / plans[number].protocol.folder, outcomes[-1:]))
    if len(outcomes) > 1:
        how = dict(report=plans[0].protocol.folder, allow_leak=options.allow_leak)
        print(compare(options.run, path_or_none(options.output), **how))
    return outcomes


def refuse_incomparable(runs: Sequence[Run], plans: Sequence[EvaluationPlan]) -> None:
    """Refuse runs whose tests would not make one table; folds of a protocol ask of other patients
    each."""
    if any(run.config.protocol != "few-shot" for run in runs):
        return
    entries = [
        ComparedRun(
            run.folder,
            run.config.algorithm,
            run.config.seed,
            cohort_of(one.held_out.shards),
            run.split,
        )
        for run, one in zip(runs, plans, strict=True)
    ]
    refuse_unpaired(entered(entries, [recipe(run.config) for run in runs]))
    tested = [{entry.organ for entry in one.held_out.entries} for one in plans]
    refuse_overlapping([(r.folder, r.split, t) for r, t in zip(runs, tested, strict=True)])


def prompted(run: Run, options: Options) -> Run:
    """Take the source of points that the test asks for."""
    prompted = method_of(run.config.method).testing.prompted
    if prompted is None or options.prompt == "auto":
        return run
    own = prompted(run.config.method, options.prompt)
    return run._replace(config=dataclasses.replace(run.config, method=own))


def tell_tuned(run: Run, plan: EvaluationPlan, options: Options, transfer: Run | None) -> None:
    """Search the settings of a run, and tell them."""
    for shots in plan.trials:
        found = search_settings(run, shots, transfer, conditions_of(options))
        for row, setting in found.items():
            print(f"{run.folder}, {labelled_text(shots)}, {row}: {describe_tuning(setting)}")
