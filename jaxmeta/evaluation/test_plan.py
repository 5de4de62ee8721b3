"""What a test asks of a run: its options, and the plan that comes of them."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import tyro

from jaxmeta.data.orientation import frames_from_text, nearest_frame
from jaxmeta.data.shards.shards import shown_in
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.leaks import checked, held_in
from jaxmeta.evaluation.outcome import Measuring, told
from jaxmeta.evaluation.protocol import Conditions, Description, Protocol, request_of
from jaxmeta.evaluation.protocols import PROTOCOLS, Name, released, supervised, within_volume
from jaxmeta.evaluation.protocols.within_volume import with_clicks
from jaxmeta.evaluation.settings import searched_by
from jaxmeta.evaluation.tuning import validation_trials
from jaxmeta.files import Place
from jaxmeta.methods import method_of
from jaxmeta.methods.testing import Asked
from jaxmeta.options import options, path_or_none
from jaxmeta.runs.build import open_data
from jaxmeta.runs.config import AnyLeak, Config
from jaxmeta.runs.provenance import HeldOut, Leak
from jaxmeta.runs.run import Run
from jaxmeta.splits.pool import Pool, pool, volumes_of

TRAINED_WITH = "target-labels", "shared-patients"  # leaks that only a training can have


def told_of(protocols: Mapping[str, Protocol]) -> str:
    """Tell what there is to choose from."""
    each = "; ".join(f"{name}: {protocol.about}" for name, protocol in protocols.items())
    return f"auto: as the run was trained to be asked, else few-shot. {each}."


@options
class Cases:
    """What is asked, and of whom."""

    protocol: Annotated[Literal["auto"] | Name, tyro.conf.arg(help=told_of(PROTOCOLS))] = "auto"
    organs: tuple[str, ...] = ()
    """Organs to test on; none: all that the run held out."""
    shots: tuple[int, ...] = (5, 1)
    """Labelled slices an adaptation sees; each number makes a table of its own. A protocol may
    settle this and the next two."""
    support_patients: int = 1
    """Patients whom these slices come from."""
    support_sets: int = 0
    """Supports an organ: each from other patients as long as there are any. 0: 4, and tested on
    slices (--allow-leak shared-patients) as many as the paper's five seeds."""
    seed: int = 0
    """Draws the supports."""
    prompt: Literal["auto", "support", "clicks", "none"] = "auto"
    """Where the points on new slices come from (ssm-sam); auto: as the run was trained. clicks lie
    on the truth of what is segmented, and are for comparison only, with --protocol
    within-volume."""
    neighbors: int = 0
    """Of --protocol within-volume: how many neighboring slices one is labelled of (the authors' are
    5 in CT, 3 in MR)."""


@options
class Baselines:
    """The other rows of the table, and what each is fine-tuned with."""

    baselines: Literal["none", "default", "all"] = "default"
    """none: the adapted method alone; default: no adaptation, nearest support mask, place and
    intensity, and scratch with the setting that an earlier search found or that is shipped; all:
    transfer too, all tuned on validation organs, each with its best setting and with as many steps
    as the method."""
    tune: bool = False
    """Search the settings anew, although the run has those of an earlier search."""
    only_tune: bool = False
    """Search the settings anew and stop: nothing under test is looked at. For --tuned-on of runs by
    a protocol, which have no validation organs of their own."""
    tuned_on: Literal["own"] | Path = "own"
    """A run whose search, with the same --shots, --support-patients, --largest-component and
    --neighbors, says how each row is fine-tuned (optimizer, rate, steps); nothing is searched. A
    run of another method or other settings gives those of scratch and transfer alone. own: by a
    search of each run's own."""
    transfer: tuple[Path, ...] = ()
    """Runs of the preset transfer, one a run, on the same split; none: two are pre-trained with as
    many slice-gradients, in RUN/transfer as the run was augmented and in RUN/transfer_upright
    without mirror images and other contrasts, and validation organs choose."""
    upper_bound: bool = False
    """Add the same network trained on all labels of all other patients, from random weights and
    from where the run ended. Tested on slices, on all that may be support."""


@options
class Scores:
    """How masks are made and measured, and what is kept."""

    convention: Literal["default", "monai", "medpy", "deepmind"] = "default"
    """Whose HD95, ASSD and NSD, and whose treatment of empty masks; all but the default are for
    comparison with papers that used these packages."""
    tolerance: float = 2.0
    """Distance in mm within which the surface Dice (NSD) counts a surface as found."""
    steps: tuple[int, ...] = ()
    """Also score the method, and what follows its rule from elsewhere, after these numbers of inner
    steps, for a curve in the report."""
    largest_component: bool = False
    """Keep the largest connected component of every row's masks: for structures that are one
    body."""
    save_masks: bool = True
    """Write RUN/predictions/*.nii.gz (within-volume: RUN/within/predictions), each volume under the
    first support it was scored with."""


@options
class Options(Cases, Baselines, Scores, released.Released):
    """Test runs on organs and patients that they never saw."""

    _: KW_ONLY
    run: tuple[Path, ...]
    """Run folders; several make one paired comparison."""
    data: tuple[Place, ...] = ()
    """Shards to test on; none: those that each run was trained with."""
    allow_leak: tuple[AnyLeak, ...] = ()
    """What a test must not share and this one does, named with every score: organs, patients or
    contents (the same voxels under another name) that the run, or what it began with, has seen;
    settings that were chosen on organs or patients under test; data that were prepared anew since
    the run was trained. Several runs are compared although not all share it, target-labels and
    shared-patients of their training too."""
    output: Literal["auto"] | Path = "auto"
    """Where the comparison of several runs goes; auto: beside the first run's report."""


class EvaluationPlan(NamedTuple):
    """What is asked of a run."""

    protocol: Protocol
    held_out: Pool
    trials: dict[int, Sequence]  # by shots
    told: dict[int, Description]  # by shots, for the report
    held: HeldOut = HeldOut()
    leaks: tuple[Leak, ...] = ()  # that are allowed

    @property
    def support_sets(self) -> int:
        """Say how many supports are adapted to in one call."""
        return next(iter(self.trials.values()))[0].support_sets

    @property
    def by_support(self) -> int:
        """Count the support sets of an organ that a case is scored under; one where the protocol
        settles them."""
        return 1 if "support_sets" in self.protocol.fixed else self.support_sets


def check(options: Options) -> None:
    """Refuse in one line what no test can be made of."""
    if options.transfer and len(options.transfer) != len(options.run):
        raise BadInput(
            f"{len(options.transfer)} transfer runs for {len(options.run)} runs: name one each"
        )
    if options.transfer and options.baselines != "all":
        raise BadInput(
            f"`transfer` with `baselines={options.baselines}`: no row is theirs but by "
            "`baselines=all`"
        )
    if path_or_none(options.tuned_on) and (options.tune or options.only_tune):
        raise BadInput(
            f"`tuned_on={options.tuned_on}` with a search of its own: give one or the other"
        )
    if len(options.run) == 1 and (own := set(options.allow_leak) & {*TRAINED_WITH}):
        raise BadInput(
            f"`allow_leak={min(own)}`: a run is trained with it (`jaxmeta train`); here it is for "
            "comparing several"
        )
    if options.tolerance < 0:
        raise BadInput(f"`tolerance={options.tolerance:g}`: must be at least 0 mm")
    if min(options.steps, default=0) < 0:
        raise BadInput(f"`steps={' '.join(map(str, options.steps))}`: must be at least 0")
    if options.protocol != within_volume.PROTOCOL.name:
        alone = f"it is for `protocol={within_volume.PROTOCOL.name}`"
        refuse_changed(options, ("neighbors", "as_released"), alone)
    released.check(options)
    if min(options.shots, default=0) < 1:
        raise BadInput(f"`shots={' '.join(map(str, options.shots))}`: must be at least 1")
    for name in ("support_sets", "neighbors"):
        if (value := getattr(options, name)) < 0:
            raise BadInput(f"`{name}={value}`: must be at least 0")


def plan_test(run: Run, options: Options) -> EvaluationPlan:
    """Plan the test of a run; refuse what cannot be asked, and what it has seen."""
    shards = open_data(run.config, options.data)
    if options.data:  # its own are shown as they were learned from
        shards = shown_in(shards, frames_from_text(run.config.frames))
    held_out = pool(shards, run.split, "test", organs=options.organs or None)
    refuse_turned(run, held_out)
    protocol = chosen_protocol(run, options)
    check_method(run, options, protocol, held_out)
    held = held_in(run, held_out)
    shots = (1,) if "shots" in protocol.fixed else options.shots
    names = [searched_by(run, each, conditions_of(options)) for each in shots]
    settings = path_or_none(options.tuned_on)
    allowed = options.allow_leak
    found = checked(run, held, held_out, allowed=allowed, settings=settings, names=names)
    return planned(run, options, protocol, held_out)._replace(held=held, leaks=found)


def check_method(run: Run, options: Options, protocol: Protocol, held_out: Pool) -> None:
    """Refuse what the method of a run cannot be asked."""
    own, method = run.config.method, method_of(run.config.method)
    if method.pointed_at:
        raise BadInput(
            f"{run.folder} segments what is pointed at, and learns from no support: "
            "`jaxmeta predict`, with `box` or `click`"
        )
    if not method.needs_support and protocol.name != supervised.PROTOCOL.name:
        raise BadInput(
            f"{run.folder} learns from no support: protocol {protocol.name} has nothing to ask of "
            f"{method.name}, {supervised.PROTOCOL.name} has"
        )
    if method.by_labels and {entry.organ for entry in held_out.entries} != {run.config.organ}:
        raise BadInput(
            f"`organs={' '.join(options.organs)}`: {run.folder} has learned {run.config.organ}, "
            "and knows no other"
        )
    if options.prompt != "auto" and method.testing.prompted is None:
        raise BadInput(f"`prompt={options.prompt}`: {run.folder} is of {method.name}")
    pretrained = options.baselines == "all" or options.upper_bound
    within = protocol.name == within_volume.PROTOCOL.name
    asked = Asked(within, pretrained, options.tune or options.only_tune)
    method.testing.check(str(run.folder), own, asked)


def planned(run: Run, options: Options, protocol: Protocol, held_out: Pool) -> EvaluationPlan:
    """Plan what a protocol asks of a run about a pool; refuse what cannot be."""
    conditions = conditions_of(options)
    searches = options.tune or options.only_tune or options.baselines == "all"
    if run.config.protocol != "few-shot" and searches:
        raise BadInput(
            f"{run.folder}: protocol {run.config.protocol} has no validation organs to tune on; "
            "give `tuned_on` of another run's search, or `baselines=default`"
        )
    refuse_changed(options, protocol.fixed, f"the protocol {protocol.name} settles it")
    if options.baselines == "all" and not path_or_none(options.tuned_on):
        validation_trials(run, max(options.shots), conditions)
    trials, described = {}, {}
    for shots in (1,) if "shots" in protocol.fixed else options.shots:
        asked = dict(support_sets=options.support_sets or None, seed=options.seed)
        request = request_of(run.config, shots, conditions=conditions, **asked)
        trials[shots] = protocol.trials(held_out, request)
        distances = told(measuring_of(options))
        described[shots] = protocol.describe(held_out, trials[shots], request, distances)
    return EvaluationPlan(protocol, held_out, trials, described)


def chosen_protocol(run: Run, options: Options) -> Protocol:
    """Choose the protocol of a test, with what its options add to it."""
    protocol = PROTOCOLS[usual(run.config) if options.protocol == "auto" else options.protocol]
    if clicks := method_of(run.config.method).testing.clicks(run.config.method):
        protocol = with_clicks(protocol, clicks)
    return released.scored(protocol, options, clicks)


def usual(config: Config) -> str:
    """Name the protocol that a run was trained to be tested by."""
    if config.protocol != "few-shot":
        return "alpnet"
    if not method_of(config.method).needs_support:
        return supervised.PROTOCOL.name
    return "shared-patients" if "shared-patients" in config.allow_leak else "few-shot"


def refuse_turned(run: Run, held_out: Pool) -> None:
    """Refuse scans whose slices lie in none of the planes that the run learned from."""
    shards, known = held_out.shards, frames_from_text(run.config.frames)
    for scan in volumes_of(held_out):
        grid = scan.grid
        if not nearest_frame(grid.shape, grid.affine, shards.defaults.axis, known)[1]:
            planes = run.config.planes
            raise BadInput(
                f"{run.folder} learned from {' and '.join(planes)} slices, and those of "
                f"{scan.name} are {grid.axis}: prepare the data with `axis={planes[0]}`, or train "
                "on scans like these"
            )


def refuse_changed(options: Options, names: Sequence[str], why: str) -> None:
    """Refuse options that are not as by default."""
    usual = Options(run=())
    for name in names:
        if getattr(options, name) != getattr(usual, name):
            raise BadInput(f"`{name}`: {why}")


def conditions_of(options: Options) -> Conditions:
    """Say what this test settles, for the searches that choose its settings."""
    return Conditions(
        options.support_patients, options.largest_component, options.neighbors or None
    )


def measuring_of(options: Options) -> Measuring:
    """Say how this test measures."""
    return Measuring(options.convention, options.tolerance)
