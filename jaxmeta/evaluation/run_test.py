"""The test of a run: every row on every held-out organ, for every number of slices."""

from collections.abc import Callable
from functools import partial

from jaxmeta.data.names import amount
from jaxmeta.data.shards.shards import cohort_of
from jaxmeta.evaluation.baselines import segmenters_of
from jaxmeta.evaluation.fitting import segmenter_maker
from jaxmeta.evaluation.following import followed, timed_segmenter
from jaxmeta.evaluation.fully_supervised import asked_of_bounds, upper_bounds
from jaxmeta.evaluation.leaks import checked_transfer, kinds_of_leaks
from jaxmeta.evaluation.outcome import Outcome, Table, collect, parted, placed
from jaxmeta.evaluation.pretraining import heads
from jaxmeta.evaluation.protocol import request_of
from jaxmeta.evaluation.scoring import Score, fit
from jaxmeta.evaluation.steps import steps_curves
from jaxmeta.evaluation.test_plan import EvaluationPlan, Options, conditions_of, measuring_of
from jaxmeta.evaluation.trial import Trial
from jaxmeta.evaluation.tuned import choose
from jaxmeta.methods import method_of
from jaxmeta.parallel import devices
from jaxmeta.progress import following
from jaxmeta.runs.identity import recipe
from jaxmeta.runs.provenance import unknowns
from jaxmeta.runs.run import Run, stands_on


def score_run(run: Run, options: Options, plan: EvaluationPlan, transfer: Run | None) -> Outcome:
    """Score every row on every held-out organ, for every number of shots."""
    make = segmenter_maker(run, plan.support_sets, transfer)
    bound = bounded(run, plan, options) if options.upper_bound else []
    tables = tuple(
        table_of(run, options, plan, shots, transfer=transfer, make=make, bound=bound)
        for shots in plan.trials
    )
    found, declared = list(plan.leaks), run.config.allow_leak
    if transfer:
        found += checked_transfer(run, transfer, plan.held, options.allow_leak)
        declared += transfer.config.allow_leak
    leaked = kinds_of_leaks(found, declared)
    return Outcome(
        folder=run.folder,
        algorithm=run.config.algorithm,
        seed=run.config.seed,
        step=run.step,
        split=run.split,
        support_sets=plan.by_support,
        conditions=conditions_of(options),
        devices=devices.describe_devices(),
        tables=tables,
        recipe=recipe(run.config),
        heads=heads(transfer) if transfer else {},
        measuring=measuring_of(options),
        leaks=leaked,
        protocol=plan.protocol.name,
        stands_on=stands_on(run.config, leaked) or " | ".join(unknowns(run.provenance)),
    )


def table_of(
    run: Run,
    options: Options,
    plan: EvaluationPlan,
    shots: int,
    *,
    transfer: Run | None,
    make: Callable,
    bound: list[Score],
) -> Table:
    """Score every row for one number of shots, and time an adaptation on the way."""
    shards, trials, measuring = plan.held_out.shards, plan.trials[shots], measuring_of(options)
    settings = choose(run, shots, options, transfer)
    walks = method_of(run.config.method).adapts
    baselines = options.baselines if has_support(trials[0]) else "none"
    segmenters, twins = segmenters_of(make, settings, baselines, walks=walks)
    segmenters[0], took = timed_segmenter(segmenters[0])
    masks = predictions_of(run, plan) if options.save_masks else None
    scored, what = plan.protocol.score, f"{plan.protocol.name}, {amount(shots, 'shot')}"
    found = followed(segmenters, trials, options.seed, what, measuring, scored)
    scores, pictures = collect(found, run, shards, shots, masks=masks)
    scores = [score for each in scores for score in twins_by_line(each, twins)]
    scores += [score._replace(shots=shots) for score in bound]
    ask = partial(followed, asked=trials, seed=options.seed, how=measuring, scored=scored)
    counts = options.steps if walks else ()
    place = partial(placed, run=run, shots=shots, cohort=cohort_of(shards))
    by_steps = steps_curves(make, ask, settings, counts, scores, place) if counts else {}
    if len(took) == 1 and isinstance(trials[0], Trial):  # compiled on the way
        with following("timing an adaptation", "adaptation"):
            fit(segmenters[0], trials[0], options.seed)
    one = min(took) * devices.task_mesh(plan.support_sets).size / plan.support_sets
    return Table(shots, scores, pictures, settings, one, by_steps, plan.told[shots])


def has_support(trial) -> bool:
    """Tell whether somebody gives labels to the test: baselines learn from nothing else."""
    return not isinstance(trial, Trial) or bool(trial.supports)


def predictions_of(run: Run, plan: EvaluationPlan):
    """Name the folder of a test's masks: beside the report of a run's own protocol, else in it."""
    folder = plan.protocol.folder
    return run.folder / ("predictions" if folder == "report" else f"{folder}/predictions")


def twins_by_line(score: Score, twins: dict[str, list[str]]) -> list[Score]:
    """Give a case to every line of the table that its row stands for."""
    name, suffix = parted(score.row)
    return [score._replace(row=row + suffix) for row in twins[name]]


def bounded(run: Run, plan: EvaluationPlan, options: Options) -> list[Score]:
    """Score the upper bounds: each patient once, by networks that all the others trained."""
    protocol = asked_of_bounds(plan.protocol)
    request = request_of(run.config, conditions=conditions_of(options), seed=options.seed)
    scores, segmenters = [], {}
    for trial in protocol.trials(plan.held_out, request):
        folds = trial.support_sets
        if folds not in segmenters:
            segmenters[folds] = upper_bounds(run, folds)
        what, how = f"upper bound, {trial.organ}", measuring_of(options)
        found = followed(segmenters[folds], [trial], options.seed, what, how, protocol.score)
        scores += collect(found, run, plan.held_out.shards, 0, masks=None)[0]
    return scores
