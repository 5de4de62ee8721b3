"""Test a run on organs and patients that it never saw, beside the baselines that keep it honest.

    python -m experiments.meta_test --run RUN [RUN ...] --shots 5 1

The method is adapted to each held-out organ from K labelled slices of support patients and segments
whole volumes of every other patient who has the organ. Scores are 3-D, at the original resolution.
Several runs make one paired comparison, of seeds of one method or of several methods;
`experiments.summary` makes it of runs tested one by one.
"""

import dataclasses
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path

import jax
from tqdm import tqdm

from experiments.command import parse_words
from experiments.command import run as run_command
from experiments.reports.pairing import Entry, entered, refuse_overlapping, refuse_unpaired
from experiments.reports.run_report import parted, write
from experiments.runs import saved
from experiments.runs.build import CLICKS, eligible
from experiments.runs.by_protocol import stated
from experiments.runs.opened import Run, open_run, stands_on
from experiments.runs.recipes import alike, recipe
from experiments.summary import compare, refuse_twice
from experiments.testing.outcome import (
    METHOD,
    Measuring,
    Outcome,
    Table,
    keep,
    measured,
)
from experiments.testing.questions import (
    Asked,
    Options,
    check,
    measuring_of,
    prompt_of,
    protocol_of,
    questions,
)
from experiments.testing.rows import (
    FRESH,
    OWN,
    fine_tunes,
    heads,
    pretrained,
    row_maker,
    upper_bounds,
)
from experiments.testing.settings import Setting, describe, read, searched_by, settings_for
from experiments.testing.tuning import better, search_settings
from jaxmeta import devices
from jaxmeta.augment import upright
from jaxmeta.chunks import score_by_chunks
from jaxmeta.compare import row_mean
from jaxmeta.data.shards import Shards, cohort_of
from jaxmeta.errors import BadInput
from jaxmeta.evaluate import Case, Row, copied_mask, draw_keys, score, together
from jaxmeta.finetune import Finetune
from jaxmeta.tasks.split import Pool
from jaxmeta.tasks.trial import Trial, every_label, whole_volumes
from jaxmeta.tasks.trial_of_slices import trial_of_every_slice
from jaxmeta.within import score_within

FOLDS = 4  # of the test patients, for the upper bound


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
    asked = [questions(run, options) for run in runs]  # refused before hours of work, if at all
    if not any(one.protocol for one in asked):  # whose folds ask of other patients each
        entries = [
            Entry(
                run.folder,
                run.config.algorithm,
                run.config.seed,
                cohort_of(one.held_out.shards),
                run.split,
            )
            for run, one in zip(runs, asked, strict=True)
        ]
        refuse_unpaired(entered(entries, [recipe(run.config) for run in runs]))
        tested = [{entry.organ for entry in one.held_out.entries} for one in asked]
        refuse_overlapping([(r.folder, r.split, t) for r, t in zip(runs, tested, strict=True)])
    for run, one in zip(runs, asked, strict=True):
        for shots in one.trials if options.settings else ():
            borrowed(run, shots, options)
    outcomes = []
    for number, run in enumerate(runs):
        transfer = transfer_run(run, options, number, shots=max(asked[number].trials))
        if options.only_tune:
            tuned(run, asked[number], options, transfer)
            continue
        outcomes.append(test_run(run, options, asked[number], transfer))
        print(write(run.folder / report_of(options), outcomes[-1:]))
    if len(outcomes) > 1:
        print(compare(options.run, options.output, report=report_of(options)))
    return outcomes


def report_of(options: Options) -> str:
    """Name the folder of a run's report."""
    return "within" if options.within else "report"


def predictions_of(run: Run, options: Options) -> Path:
    """Name the folder of a test's masks."""
    return run.folder / ("within/predictions" if options.within else "predictions")


def prompted(run: Run, options: Options) -> Run:
    """Take the source of points that the test asks for."""
    if run.config.algorithm != "ssm-sam" or options.prompt is None:
        return run
    prompt = dataclasses.replace(run.config.prompted, prompt=options.prompt)
    return run._replace(config=dataclasses.replace(run.config, prompted=prompt))


def tuned(run: Run, asked: Asked, options: Options, transfer: Run | None) -> None:
    """Search the settings of a run, and tell them."""
    for shots in asked.trials:
        found = search_settings(run, shots, transfer, protocol_of(options))
        for row, setting in found.items():
            print(f"{run.folder}, {shots} slices, {row}: {describe(setting)}")


def test_run(run: Run, options: Options, asked: Asked, transfer: Run | None) -> Outcome:
    """Score every row on every held-out organ, for every number of shots."""
    held_out, how = asked.held_out, asked.how
    shards = held_out.shards
    make = row_maker(run, asked.supports, transfer)
    bound = []
    if options.upper_bound:
        bound = bounded(run, shards, held_out, how, options)
    masks = predictions_of(run, options) if options.masks else None
    tables = []
    for shots, chosen in asked.trials.items():
        settings = choose(run, shots, options, transfer)
        walks = fine_tunes(run.config)
        rows, twins = rows_of(make, settings, options.baselines, zero_steps=walks)
        if "shared-patients" in run.config.allow_leak:  # a slice alone has no height to copy at
            rows = [row for row in rows if row.name != "copied mask"]
        rows[0], took = timed(rows[0])
        measuring = measuring_of(options)
        scored = scored_by(run, options, asked)
        what = f"{shots} shots" if options.within is None else "within volumes"
        found = followed(rows, chosen, options.seed, what, measuring, scored)
        cases, pictures = keep(found, run, shards, shots, masks=masks)
        cases = [case for each in cases for case in lines_of(each, twins)]
        cases += [case._replace(shots=shots) for case in bound]
        ask = partial(followed, asked=chosen, seed=options.seed, how=measuring, scored=scored)
        counts = options.steps if walks else ()
        by_steps = steps_curves(make, ask, settings, counts, cases) if counts else {}
        if len(took) == 1 and options.within is None:  # compiled on the way
            rows[0].fit(together(chosen[0].supports), draw_keys(asked.supports, options.seed))
        one = min(took) * devices.task_mesh(asked.supports).size / asked.supports
        tables.append(Table(shots, cases, pictures, settings, one, by_steps))
    alive = heads(transfer) if transfer else {}
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
        run.config.allow_leak,
        stated(asked.protocol, shards) if asked.protocol else "",
        asked.within,
        stands_on(run.config),
    )


def scored_by(run: Run, options: Options, asked: Asked) -> Callable[..., Iterator]:
    """Choose how rows are scored: on whole volumes, by a protocol's chunks, or within volumes."""
    if options.within is None:
        return score_by_chunks if asked.protocol else score
    clicks = CLICKS if prompt_of(run, options) == "clicks" else 0
    return partial(score_within, clicks=clicks, released=options.as_released)


def choose(run: Run, shots: int, options: Options, transfer: Run | None) -> dict[str, Setting]:
    """Settle how each row fine-tunes: as an earlier search found, a new one, or as shipped."""
    protocol, name = protocol_of(options), searched_by(run, shots, protocol_of(options))
    wanted = {"scratch"} | ({"transfer"} if transfer else set())
    if options.settings:
        found = borrowed(run, shots, options)
        if options.baselines == "all" and not wanted <= found.keys():
            raise BadInput(f"{options.settings}: no search of transfer at {name} there")
        return settings_for(run, shots, found)
    found = read(run.folder, name, transfer)
    lacking = options.baselines == "all" and not wanted <= found.keys()
    if options.tune or lacking:
        found = search_settings(run, shots, transfer, protocol)
    return settings_for(run, shots, found)


def borrowed(run: Run, shots: int, options: Options) -> dict[str, Setting]:
    """Take the settings that another run's search found; of another method, the baselines'.

    Raises BadInput where that has none for this run.
    """
    lender, name = options.settings, searched_by(run, shots, protocol_of(options))
    found = read(lender, name)
    if not found:
        raise BadInput(f"{lender}: no search at {name} there; run that test with --tune")
    theirs = saved.read(lender)[0]
    if alike(theirs, run.config):
        return found
    baselines = {row: found[row] for row in ("scratch", "transfer") if row in found}
    if run.config.algorithm == "ssm-sam":
        baselines = {FRESH: found[FRESH]} if FRESH in found else {}
    if not baselines:
        raise BadInput(
            f"{lender}: its search has no baseline that {run.folder} has; search there with --tune"
        )
    if FRESH in baselines:  # its rate is a multiple of its method's
        setting, times = baselines[FRESH], theirs.inner.test_rate / run.config.inner.test_rate
        rate = float(f"{setting.finetune.rate * times:.6g}")
        baselines = {FRESH: setting._replace(finetune=setting.finetune._replace(rate=rate))}
    own = read(run.folder, name)
    return baselines | {row: own[row] for row in (METHOD,) if row in own}


def rows_of(
    make: Callable[..., Row],
    settings: dict[str, Setting],
    baselines: str,
    *,
    zero_steps: bool = True,
) -> tuple[list[Row], dict[str, list[str]]]:
    """List the rows to compute, the method first; and by its name, what each row is in the table.

    A baseline whose best setting has as many steps as the method is computed once, for both its lines.
    """
    rows = [make(METHOD, METHOD, settings[METHOD].finetune)]
    if baselines != "none":
        if zero_steps:
            still = make("zero steps", METHOD, None)
            rows += [still._replace(segment=rows[0].segment)]  # compiled once
        rows += [copied_mask("copied mask")]
    usual = [name for name in ("scratch", FRESH) if name in settings]
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
) -> dict[str, dict[int, float]]:
    """Score each row that follows the method's own rule after each number of its steps.

    What is among the `cases` of the table is not computed again.
    """
    curves, scored = {}, {case.row for case in cases}
    for row, (setting, *_) in settings.items():
        own = setting.optimiser == OWN
        if row not in scored or not (own or row == METHOD):
            continue
        rate, known = (setting.rate, {setting.steps: row}) if own else (1.0, {})
        known |= {0: "zero steps"} if row == METHOD and "zero steps" in scored else {}
        curves[row] = {}
        for count in counts:
            if count in known:
                curves[row][count] = mean_of(cases, known[count])
                continue
            after = make(row, row, Finetune(OWN, rate, count))
            found = [case for case, _, _ in ask([after], what=f"{row}, {count} steps")]
            curves[row][count] = mean_of(found, row)
    return curves


def mean_of(cases: Sequence[Case], row: str) -> float:
    """Average the Dice of one row."""
    return row_mean([case for case in cases if case.row == row])[0].mean


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
    """Score all trials, with a bar that counts volumes."""
    volumes = sum(len(trial.queries) for trial in asked)
    with tqdm(total=volumes, desc=what, unit="volume", disable=None) as bar:
        for trial in asked:
            last = None
            for case, query, mask in scored(rows, trial, seed=seed, measured=measured(how)):
                bar.update(query.case != last)
                last = query.case
                yield case, query, mask


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
    """Score the upper bounds: each patient by networks that all the others trained.

    Of a run that is tested on slices, each tested slice by networks that all slices that lend trained.
    """
    cases, rows, read = [], {}, {"size": how["size"], "mm": how["mm"]}
    by_slices = "shared-patients" in run.config.allow_leak
    pool = eligible(run.config, held_out) if by_slices else held_out
    for entry in pool.entries:
        if by_slices:
            trial = trial_of_every_slice(pool, entry, **read)
        else:
            supports = every_label(pool, entry, folds=FOLDS, **how)
            kept = whole_volumes(pool, entry, largest_piece=options.largest_piece, **read)
            trial = Trial(entry.organ, entry.dataset, entry, supports, kept)
        folds = len(trial.supports)
        if folds not in rows:
            rows[folds] = upper_bounds(run, folds)
        what = f"upper bound, {entry.organ}"
        found = followed(rows[folds], [trial], how["seed"], what, measuring_of(options))
        cases += keep(found, run, shards, 0, masks=None)[0]
    return cases


def transfer_run(run: Run, options: Options, number: int, *, shots: int) -> Run | None:
    """Open the transfer run that belongs to a run, pre-training it where there is none."""
    if options.baselines != "all":
        return None
    if options.transfer:
        transfer = open_run(options.transfer[number])
    else:
        as_run = run.config.augment
        transfers = [pretrained(run, "transfer", as_run)]
        if upright(as_run) != as_run:
            transfers.append(pretrained(run, "transfer_upright", upright(as_run)))
        transfer = better(
            run,
            transfers,
            shots,
            protocol_of(options),
            anew=options.tune or options.only_tune,
        )
    if set(transfer.split.train_organs) - set(run.split.train_organs) or set(
        transfer.split.train_patients
    ) - set(run.split.train_patients):
        raise BadInput(
            f"{transfer.folder} learned from organs or patients that {run.folder} did not: "
            "compare runs of the same split"
        )
    return transfer


if __name__ == "__main__":
    run_command(main)
