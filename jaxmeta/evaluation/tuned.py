"""Which settings the rows of a test take, and which transfer run stands beside it."""

from jaxmeta.augmentation.augment import upright
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.baselines import METHOD, SCRATCH, TRANSFER, random_row
from jaxmeta.evaluation.finetune import Tuned
from jaxmeta.evaluation.leaks import checked_transfer
from jaxmeta.evaluation.pretraining import pretrained
from jaxmeta.evaluation.settings import read_tuned, searched_by, settings_for
from jaxmeta.evaluation.test_plan import EvaluationPlan, Options, conditions_of
from jaxmeta.evaluation.tuning import better, search_settings
from jaxmeta.methods import method_of
from jaxmeta.options import path_or_none
from jaxmeta.runs import config_file
from jaxmeta.runs.config import Config
from jaxmeta.runs.identity import alike
from jaxmeta.runs.run import Run, open_run


def choose(run: Run, shots: int, options: Options, transfer: Run | None) -> dict[str, Tuned]:
    """Settle how each row fine-tunes: as an earlier search found, a new one, or as shipped."""
    conditions = conditions_of(options)
    name = searched_by(run, shots, conditions)
    wanted = {"scratch"} | ({"transfer"} if transfer else set())
    if path_or_none(options.tuned_on):
        found = settings_of_other(run, shots, options)
        if options.baselines == "all" and not wanted <= found.keys():
            raise BadInput(f"{options.tuned_on}: no search of transfer at {name} there")
        return settings_for(run, shots, found)
    found = {} if options.tune else read_tuned(run.folder, name, transfer)
    lacking = options.baselines == "all" and not wanted <= found.keys()
    if options.tune or lacking:
        found = search_settings(run, shots, transfer, conditions)
    return settings_for(run, shots, found)


def settings_of_other(run: Run, shots: int, options: Options) -> dict[str, Tuned]:
    """Take the settings that another run's search found; of another method, the baselines'.

    Raises BadInput where that has none for this run.
    """
    other, name = path_or_none(options.tuned_on), searched_by(run, shots, conditions_of(options))
    found = read_tuned(other, name)
    if not found:
        raise BadInput(f"{other}: no search at {name} there; run that test with `tune`")
    theirs = config_file.read_run(other)[0]
    if alike(theirs, run.config):
        return found
    baselines = taken_over(found, theirs, run.config)
    if not baselines:
        raise BadInput(
            f"{other}: its search has no baseline that {run.folder} has; search there with `tune`"
        )
    own = read_tuned(run.folder, name)
    return baselines | {row: own[row] for row in (METHOD,) if row in own}


def taken_over(found: dict[str, Tuned], theirs: Config, own: Config) -> dict[str, Tuned]:
    """Take from another run's search what its baselines found; a multiple of its method's own rate
    becomes one of this run's."""
    method = method_of(own.method)
    rule, row = method.testing.own_rule, random_row(method)
    if rule is None:
        return {row: found[row] for row in (SCRATCH, TRANSFER) if row in found}
    if row not in found:
        return {}
    tuned, times = found[row], rule.rate(theirs.method) / rule.rate(own.method)
    rate = float(f"{tuned.finetune.rate * times:.6g}")
    return {row: tuned._replace(finetune=tuned.finetune._replace(rate=rate))}


def transfer_run(run: Run, options: Options, number: int, plan: EvaluationPlan) -> Run | None:
    """Open the transfer run that belongs to a run, pre-training it where there is none.

    Raises BadInput where it has seen what is tested, or learned from more than the run did, which
    no comparison could tell from a better method.
    """
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
            max(plan.trials),
            conditions_of(options),
            anew=options.tune or options.only_tune,
        )
    checked_transfer(run, transfer, plan.held, options.allow_leak)
    if set(transfer.split.train_organs) - set(run.split.train_organs) or set(
        transfer.split.train_patients
    ) - set(run.split.train_patients):
        raise BadInput(
            f"{transfer.folder} learned from organs or patients that {run.folder} did not: "
            "compare runs of the same split"
        )
    return transfer
