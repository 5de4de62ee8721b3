"""Score every row of a run's test on every held-out organ."""

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import jax

from jaxmeta.data.names import amount
from jaxmeta.data.shards.shards import Shards, cohort_of
from jaxmeta.evaluation.baselines import OWN, RANDOM, fine_tunes, heads, row_maker, upper_bounds
from jaxmeta.evaluation.finetune import Finetune
from jaxmeta.evaluation.leaks import checked_transfer, kinds
from jaxmeta.evaluation.outcome import (
    METHOD,
    Curves,
    Measuring,
    Outcome,
    Table,
    keep,
    measured,
    parted,
    placed,
)
from jaxmeta.evaluation.protocols.alpnet_scores import score_by_chunks
from jaxmeta.evaluation.protocols.shared_patients import trial_of_every_slice
from jaxmeta.evaluation.protocols.within_volume_scores import score_within
from jaxmeta.evaluation.segmenter import Case, Row, draw_keys, nearest_support_mask, score, together
from jaxmeta.evaluation.settings import Setting
from jaxmeta.evaluation.test_plan import (
    Asked,
    Options,
    measuring_of,
    prompt_of,
    protocol_of,
    released_of,
)
from jaxmeta.evaluation.trial import Trial, every_label, folds_of, whole_volumes
from jaxmeta.evaluation.tuned import choose
from jaxmeta.parallel import devices
from jaxmeta.progress import following, slow_start
from jaxmeta.runs.build import CLICKS, eligible
from jaxmeta.runs.identity import recipe
from jaxmeta.runs.protocol import stated
from jaxmeta.runs.provenance import unknowns
from jaxmeta.runs.run import Run, stands_on
from jaxmeta.splits.split import Pool

FOLDS = 4  # of the test patients, for the upper bound


def score_run(run: Run, options: Options, asked: Asked, transfer: Run | None) -> Outcome:
    """Score every row on every held-out organ, for every number of shots."""
    held_out, how = asked.held_out, asked.how
    shards = held_out.shards
    make = row_maker(run, asked.supports, transfer)
    bound = []
    if options.upper_bound:
        bound = bounded(run, shards, held_out, how, options)
    masks = predictions_of(run, options) if options.save_masks else None
    tables = []
    for shots, chosen in asked.trials.items():
        settings = choose(run, shots, options, transfer)
        walks = fine_tunes(run.config)
        rows, twins = rows_of(make, settings, options.baselines, no_adaptation=walks)
        if "shared-patients" in run.config.allow_leak:  # a slice alone has no height to copy at
            rows = [row for row in rows if row.name != "nearest support mask"]
        rows[0], took = timed(rows[0])
        measuring = measuring_of(options)
        scored = scored_by(run, options, asked)
        what = amount(shots, "shot") if options.within is None else "within volumes"
        found = followed(rows, chosen, options.seed, what, measuring, scored)
        cases, pictures = keep(found, run, shards, shots, masks=masks)
        cases = [case for each in cases for case in lines_of(each, twins)]
        cases += [case._replace(shots=shots) for case in bound]
        ask = partial(followed, asked=chosen, seed=options.seed, how=measuring, scored=scored)
        counts = options.steps if walks else ()
        place = partial(placed, run=run, shots=shots, cohort=cohort_of(shards))
        by_steps = steps_curves(make, ask, settings, counts, cases, place) if counts else {}
        if len(took) == 1 and options.within is None:  # compiled on the way
            with following("timing an adaptation", "adaptation"):
                rows[0].fit(together(chosen[0].supports), draw_keys(asked.supports, options.seed))
        one = min(took) * devices.task_mesh(asked.supports).size / asked.supports
        tables.append(Table(shots, cases, pictures, settings, one, by_steps))
    alive = heads(transfer) if transfer else {}
    found, declared = list(asked.leaks), run.config.allow_leak
    if transfer:
        found += checked_transfer(run, transfer, asked.held, options.allow_leak)
        declared += transfer.config.allow_leak
    leaked = kinds(found, declared)
    return Outcome(
        run.folder,
        run.config.algorithm,
        run.config.seed,
        run.step,
        run.split,
        1 if asked.protocol or asked.within else asked.supports,
        protocol_of(options),
        devices.describe_devices(),
        tuple(tables),
        recipe(run.config),
        alive,
        measuring_of(options),
        leaked,
        stated(asked.protocol, shards) if asked.protocol else "",
        asked.within,
        stands_on(run.config, leaked) or " | ".join(unknowns(run.provenance)),
    )


def predictions_of(run: Run, options: Options) -> Path:
    """Name the folder of a test's masks."""
    return run.folder / ("within/predictions" if options.within else "predictions")


def scored_by(run: Run, options: Options, asked: Asked) -> Callable[..., Iterator]:
    """Choose how rows are scored: on whole volumes, by a protocol's chunks, or within volumes."""
    if options.within is None:
        return score_by_chunks if asked.protocol else score
    clicks = CLICKS if prompt_of(run, options) == "clicks" else 0
    return partial(score_within, clicks=clicks, released=released_of(options))


def rows_of(
    make: Callable[..., Row],
    settings: dict[str, Setting],
    baselines: str,
    *,
    no_adaptation: bool = True,
) -> tuple[list[Row], dict[str, list[str]]]:
    """List the rows to compute, the method first; and by its name, what each row is in the table.

    A baseline whose best setting has as many steps as the method is computed once, for both its
    lines.
    """
    rows = [make(METHOD, METHOD, settings[METHOD].finetune)]
    if baselines != "none":
        if no_adaptation:
            still = make("no adaptation", METHOD, None)
            rows += [still._replace(segment=rows[0].segment)]  # compiled once
        rows += [nearest_support_mask("nearest support mask")]
    usual = [name for name in ("scratch", RANDOM) if name in settings]
    names = {"none": (), "default": usual, "all": sorted(settings.keys() - {METHOD})}
    same = {}
    for name in names[baselines]:
        same.setdefault((name.split(",")[0], settings[name].finetune), []).append(name)
    rows += [make(own[0], kind, finetune) for (kind, finetune), own in same.items()]
    return rows, {row.name: [row.name] for row in rows} | {own[0]: own for own in same.values()}


def steps_curves(
    make: Callable[..., Row],
    ask: Callable[..., Iterator],
    settings: dict[str, Setting],
    counts: Sequence[int],
    cases: Sequence[Case],
    place: Callable[[Case], Case],
) -> Curves:
    """Score each row that follows the method's own rule after each number of its steps.

    What is among the `cases` of the table is not computed again.
    """
    curves, scored = {}, {case.row for case in cases}
    for row, (setting, *_) in settings.items():
        own = setting.optimizer == OWN
        if row not in scored or not (own or row == METHOD):
            continue
        rate, known = (setting.rate, {setting.steps: row}) if own else (1.0, {})
        known |= {0: "no adaptation"} if row == METHOD and "no adaptation" in scored else {}
        curves[row] = {}
        for count in counts:
            if count in known:
                same = [case for case in cases if case.row == known[count]]
                curves[row][count] = [case._replace(row=row) for case in same]
                continue
            after = make(row, row, Finetune(OWN, rate, count))
            found = [place(case) for case, _, _ in ask([after], what=f"{row}, {count} steps")]
            curves[row][count] = [case for case in found if case.row == row]
    return curves


def lines_of(case: Case, twins: dict[str, list[str]]) -> list[Case]:
    """Give a case to every line of the table that its row stands for."""
    name, suffix = parted(case.row)
    return [case._replace(row=row + suffix) for row in twins[name]]


def followed(
    rows: Sequence[Row],
    asked: Sequence[Trial],
    seed: int,
    what: str,
    how: Measuring,
    scored: Callable[..., Iterator] = score,
) -> Iterator:
    """Score all trials, and tell how many volumes are done and what is at work."""
    volumes = sum(len(trial.queries) for trial in asked)
    asking = f"{amount(volumes, 'volume')}, {amount(len(rows), 'row')}"
    first = f"{what}: {asking}; {slow_start()}"
    with following(what, "volume", volumes, first=first) as tell:
        for trial in asked:
            heard = [heard_of(row, trial.organ, tell) for row in rows]
            last = None
            for case, query, mask in scored(heard, trial, seed=seed, measured=measured(how)):
                if query.case != last:
                    tell(more=1, note=f"{trial.organ} of {query.case}")
                last = query.case
                yield case, query, mask


def heard_of(row: Row, organ: str, tell: Callable[..., None]) -> Row:
    """Make the same row, whose adaptations, which may take minutes each, are told when they
    begin."""

    def fit(supports, keys):
        tell(note=f"{row.name} adapts to {organ}")
        return row.fit(supports, keys)

    return row._replace(fit=fit)


def timed(row: Row) -> tuple[Row, list[float]]:
    """Make the same row, and the list to which each of its adaptations adds its seconds."""
    took = []

    def fit(supports, keys):
        began = time.perf_counter()
        fitted = jax.block_until_ready(row.fit(supports, keys))
        took.append(time.perf_counter() - began)
        return fitted

    return row._replace(fit=fit), took


def bounded(run: Run, shards: Shards, held_out: Pool, how: dict, options: Options) -> list[Case]:
    """Score the upper bounds: each patient once, by networks that all the others trained.

    Of a run that is tested on slices, each tested slice by networks that all support slices
    trained.
    """
    cases, rows, read = [], {}, {"size": how["size"], "mm": how["mm"]}
    by_slices = "shared-patients" in run.config.allow_leak
    pool = eligible(run.config, held_out) if by_slices else held_out
    for entry in pool.entries:
        if by_slices:
            trial = trial_of_every_slice(pool, entry, **read)
        else:
            supports = every_label(pool, entry, folds=FOLDS, **how)
            kept = whole_volumes(pool, entry, largest_component=options.largest_component, **read)
            answers = folds_of(pool, entry, folds=FOLDS, seed=how["seed"])
            trial = Trial(entry.organ, entry.dataset, entry, supports, kept, answers)
        folds = len(trial.supports)
        if folds not in rows:
            rows[folds] = upper_bounds(run, folds)
        what = f"upper bound, {entry.organ}"
        found = followed(rows[folds], [trial], how["seed"], what, measuring_of(options))
        cases += keep(found, run, shards, 0, masks=None)[0]
    return cases
