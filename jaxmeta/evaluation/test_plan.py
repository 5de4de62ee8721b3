"""What a test asks of a run: its options, and the questions that come of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from jaxmeta.data.orientation import frames_from_text, nearest_frame
from jaxmeta.data.shards.shards import shown_in
from jaxmeta.errors import BadInput
from jaxmeta.evaluation.leaks import checked, held_in
from jaxmeta.evaluation.outcome import Measuring
from jaxmeta.evaluation.protocols.alpnet import trials_of_protocol
from jaxmeta.evaluation.protocols.shared_patients import SEEDS, trials_of_slices
from jaxmeta.evaluation.protocols.within_volume import Within, budget, trials_within
from jaxmeta.evaluation.protocols.within_volume_scores import SUPPORT_SETS as SUPPORT_SETS_WITHIN
from jaxmeta.evaluation.protocols.within_volume_scores import Released
from jaxmeta.evaluation.settings import Protocol, searched_by
from jaxmeta.evaluation.trial import Trial, trials
from jaxmeta.evaluation.tuning import validation_trials
from jaxmeta.runs.build import CLICKS, eligible, open_data
from jaxmeta.runs.config import AnyLeak
from jaxmeta.runs.protocol import protocol_of as by_protocol
from jaxmeta.runs.provenance import Held, Leak
from jaxmeta.runs.run import Run
from jaxmeta.splits.alpnet import Protocol as Literature
from jaxmeta.splits.split import Pool, pool, volumes_of

SUPPORT_SETS = 4
TRAINED_WITH = "target-labels", "shared-patients"  # leaks that only a training can have


@dataclass(frozen=True)
class Options:
    """Test runs on organs and patients that they never saw."""

    run: tuple[Path, ...]
    """Run folders; several make one paired comparison."""
    data: tuple[Path, ...] = ()
    """Shards to test on; by default those that each run was trained with."""
    organs: tuple[str, ...] = ()
    """Organs to test on; by default all that the run held out."""
    shots: tuple[int, ...] = (5, 1)
    """Labelled slices an adaptation sees; each number makes a table of its own. This and the next
    two are settled by the protocol of a run that was trained by one."""
    support_patients: int = 1
    """Patients whom these slices come from."""
    support_sets: int | None = None
    """Supports an organ: each from other patients as long as there are any. By default 4; tested on
    slices (--allow-leak shared-patients), as many as the paper's five seeds."""
    baselines: Literal["none", "default", "all"] = "default"
    """none: the adapted method alone; default: no adaptation, nearest support mask, and scratch
    with the setting that an earlier search found or that is shipped; all: transfer too, all tuned
    on validation organs, each with its best setting and with as many steps as the method."""
    tune: bool = False
    """Search the settings anew, although the run has those of an earlier search."""
    only_tune: bool = False
    """Search the settings anew and stop: nothing under test is looked at. For --tuned-on of runs by
    a protocol, which have no validation organs of their own."""
    tuned_on: Path | None = None
    """Another run whose search to take the settings from, instead of searching for each run; a run
    of another algorithm, or trained with other settings, takes those of the baselines, not of the
    method."""
    convention: Literal["default", "monai", "medpy", "deepmind"] = "default"
    """Whose HD95, ASSD and NSD, and whose treatment of empty masks; all but the default are for
    comparison with papers that used these packages."""
    tolerance: float = 2.0
    """Distance in mm within which the surface Dice (NSD) counts a surface as found."""
    steps: tuple[int, ...] = ()
    """Also score the method, and what follows its rule from elsewhere, after these numbers of inner
    steps, for a curve in the report."""
    within: int | None = None
    """Test within volumes, as SSM-SAM's authors do: of every so many neighboring slices that show
    the organ (5 in CT, 3 in MR) the middle one is labelled and adapted to, the others are segmented
    and scored. Somebody then labels a part of every volume: the report says how much. It goes to
    RUN/within."""
    prompt: Literal["support", "clicks", "none"] | None = None
    """Where the points on new slices come from (ssm-sam); by default as the run was trained. clicks
    lie on the truth of what is segmented, and are for comparison only, with --within."""
    as_released: float | None = None
    """Also score --within as the released code does: chunks of less than this Dice are dropped
    (there 0.1 for CT, 0.3 for MR), and the next two."""
    released_threshold: float = Released(0).threshold
    """Beside --as-released: the probability from which a pixel is the structure; 0.5 as in every
    other score."""
    released_border: float = Released(0).border
    """Beside --as-released: the share of a side, along the border, in which nothing counts as
    found; 0: none."""
    upper_bound: bool = False
    """Add the same network trained on all labels of all other patients, from random weights and
    from where the run ended. Tested on slices, on all that may be support."""
    largest_component: bool = False
    """Keep the largest connected piece of every row's masks: for structures that are one body."""
    transfer: tuple[Path, ...] = ()
    """Runs of the preset transfer, one a run, on the same split; by default two are pre-trained
    with as many slice-gradients, in RUN/transfer as the run was augmented and in
    RUN/transfer_upright without mirror images and other contrasts, and validation organs choose."""
    allow_leak: tuple[AnyLeak, ...] = ()
    """What a test must not share and this one does, named with every score: organs, patients or
    contents (the same voxels under another name) that the run, or what it began with, has seen;
    settings that were chosen on organs or patients under test; data that were prepared anew since
    the run was trained. Several runs are compared although not all share it, target-labels and
    shared-patients of their training too."""
    seed: int = 0
    """Draws the supports."""
    save_masks: bool = True
    """Write RUN/predictions/*.nii.gz (--within: RUN/within/predictions), each volume under the
    first support it was scored with."""
    output: Path | None = None
    """Where the comparison of several runs goes; by default beside the first run's report."""


class Asked(NamedTuple):
    """What is asked of a run."""

    held_out: Pool
    how: dict  # size, mm and seed: how its slices are read and drawn
    trials: dict[int, tuple[Trial, ...] | tuple[Within, ...]]  # by shots
    supports: int  # of each trial
    protocol: Literature | None = None
    within: str = ""  # what is asked within volumes, in words
    held: Held = Held()
    leaks: tuple[Leak, ...] = ()  # that are allowed


def check(options: Options) -> None:
    """Refuse in one line what no test can be made of."""
    if options.transfer and len(options.transfer) != len(options.run):
        raise BadInput(
            f"{len(options.transfer)} transfer runs for {len(options.run)} runs: name one each"
        )
    if options.tuned_on and (options.tune or options.only_tune):
        raise BadInput(
            f"--tuned-on {options.tuned_on} with a search of its own: give one or the other"
        )
    if len(options.run) == 1 and (own := set(options.allow_leak) & {*TRAINED_WITH}):
        raise BadInput(
            f"--allow-leak {min(own)}: a run is trained with it (meta_train); here it is for "
            "comparing several"
        )
    if options.tolerance < 0:
        raise BadInput(f"--tolerance {options.tolerance:g}: must be at least 0 mm")
    if min(options.steps, default=0) < 0:
        raise BadInput(f"--steps {' '.join(map(str, options.steps))}: must be at least 0")
    support_sets = (1 if options.support_sets is None else options.support_sets,)
    if options.within is None and options.as_released is not None:
        raise BadInput("--as-released needs --within")
    if options.as_released is not None and not 0 <= options.as_released <= 1:
        raise BadInput(f"--as-released {options.as_released:g}: a Dice, from 0 to 1")
    if options.as_released is None:
        refuse_changed(
            options, ("released_threshold", "released_border"), "it is for --as-released"
        )
    if not (0 <= options.released_threshold < 1 and 0 <= options.released_border < 0.5):
        raise BadInput(
            f"--released-threshold {options.released_threshold:g} --released-border "
            f"{options.released_border:g}: from 0 to below 1, and to below 0.5"
        )
    for name, values in {"--support-sets": support_sets, "--shots": options.shots}.items():
        if min(values, default=0) < 1:
            raise BadInput(f"{name} {' '.join(map(str, values))}: must be at least 1")


def questions(run: Run, options: Options) -> Asked:
    """Make what is asked of a run; refuse what cannot be, and what it has seen."""
    shards = open_data(run.config, options.data)
    if options.data:  # its own are shown as they were learned from
        shards = shown_in(shards, frames_from_text(run.config.frames))
    held_out = pool(shards, run.split, "test", organs=options.organs or None)
    refuse_turned(run, held_out)
    refuse_unprompted(run, options)
    held, literature = held_in(run, held_out), by_protocol(run.config, shards)
    shots = (1,) if literature or options.within is not None else options.shots
    names = [searched_by(run, each, protocol_of(options)) for each in shots]
    found = checked(run, held, held_out, options.allow_leak, options.tuned_on, names)
    return questions_of(run, options, held_out, literature)._replace(held=held, leaks=found)


def questions_of(
    run: Run, options: Options, held_out: Pool, literature: Literature | None
) -> Asked:
    """Make what is asked of a run about a pool; refuse what cannot be."""
    protocol = protocol_of(options)
    how = {"size": run.config.tasks.size, "mm": run.config.tasks.spacing, "seed": options.seed}
    if literature and (options.tune or options.only_tune or options.baselines == "all"):
        raise BadInput(
            f"{run.folder}: protocol {literature.name} has no validation organs to tune on; give "
            "--tuned-on of another run's search, or --baselines default"
        )
    if options.baselines == "all" and not options.tuned_on:
        validation_trials(run, max(options.shots), protocol)
    if options.within is not None:
        settled = ("shots", "support_patients", "support_sets", "upper_bound", "largest_component")
        refuse_changed(options, settled, f"--within {options.within} settles it")
        made = trials_within(held_out, width=options.within, size=how["size"], mm=how["mm"])
        return Asked(
            held_out, how, {1: made}, SUPPORT_SETS_WITHIN, None, said_within(made, run, options)
        )
    if literature:
        settled = ("shots", "support_patients", "support_sets", "organs", "upper_bound")
        refuse_changed(
            options, settled, f"the protocol {literature.name} of {run.folder} settles it"
        )
        size, mm = how["size"], how["mm"]
        made = trials_of_protocol(
            held_out, literature, size=size, mm=mm, largest_component=options.largest_component
        )
        return Asked(held_out, how, {1: made}, len(literature.positions), literature)
    if "shared-patients" in run.config.allow_leak:
        settled = ("support_patients", "largest_component")
        refuse_changed(options, settled, f"{run.folder} is tested on slices (shared-patients)")
        size = dict(size=how["size"], mm=how["mm"])
        counted, support_sets = eligible(run.config, held_out), options.support_sets or len(SEEDS)
        made = {
            shots: trials_of_slices(counted, shots=shots, support_sets=support_sets, **size)
            for shots in options.shots
        }
        return Asked(held_out, how, made, support_sets)
    support_sets = options.support_sets or SUPPORT_SETS
    made = {
        shots: trials(
            held_out,
            shots=shots,
            support_sets=support_sets,
            patients=protocol.patients,
            largest_component=protocol.largest_component,
            **how,
        )
        for shots in options.shots
    }
    return Asked(held_out, how, made, support_sets)


def refuse_turned(run: Run, held_out: Pool) -> None:
    """Refuse scans whose slices lie in none of the planes that the run learned from."""
    shards, known = held_out.shards, frames_from_text(run.config.frames)
    for scan in volumes_of(held_out):
        grid = scan.grid
        if not nearest_frame(grid.shape, grid.affine, shards.defaults.axis, known)[1]:
            planes = run.config.planes
            raise BadInput(
                f"{run.folder} learned from {' and '.join(planes)} slices, and those of "
                f"{scan.name} are {grid.axis}: prepare the data with --axis {planes[0]}, or train "
                "on scans like these"
            )


def refuse_unprompted(run: Run, options: Options) -> None:
    """Refuse what SSM-SAM cannot be asked, and what is asked of it alone."""
    algorithm, prompt = run.config.algorithm, prompt_of(run, options)
    if algorithm == "sam":
        raise BadInput(
            f"{run.folder} segments what is pointed at, and learns from no support: python -m "
            "experiments.predict, with --box or --click"
        )
    if algorithm != "ssm-sam":
        if options.prompt is not None:
            raise BadInput(f"--prompt {options.prompt}: {run.folder} is of {algorithm}")
        return
    if prompt == "clicks" and options.within is None:
        raise BadInput(f"{run.folder}: clicks lie on the truth; add --within, or --prompt support")
    if options.baselines == "all" or options.upper_bound:
        raise BadInput(
            f"{run.folder}: of ssm-sam nothing is pre-trained here: the same network without "
            "meta-learning is a run with --inner.steps 0"
        )
    if prompt == "clicks" and (options.tune or options.only_tune):
        raise BadInput(f"{run.folder}: clicks lie on the truth; search with --prompt support")


def prompt_of(run: Run, options: Options) -> str | None:
    """Say where the points on new slices come from; None for methods that have none."""
    own = run.config.prompted.prompt if run.config.algorithm == "ssm-sam" else None
    return options.prompt or own


def said_within(trials: Sequence[Within], run: Run, options: Options) -> str:
    """Say what is asked within volumes, with the labels that it costs and the truth that it
    uses."""
    text = (
        f"within volumes, by the middle slice of every {options.within} neighbors; {budget(trials)}"
    )
    text += "; the oracle knows which slices show the organ"
    if prompt_of(run, options) == "clicks":
        text += f"; CLICKS ON THE TRUTH, {CLICKS} a slice"
    if how := released_of(options):
        text += (
            f"; scored as released: a pixel from {how.threshold:.3g} on, none within "
            f"{how.border:.3g} of a side from the border, chunks of a Dice below {how.least:g} "
            "dropped"
        )
    return text


def refuse_changed(options: Options, names: Sequence[str], why: str) -> None:
    """Refuse options that are not as by default."""
    usual = Options(run=())
    for name in names:
        if getattr(options, name) != getattr(usual, name):
            raise BadInput(f"--{name.replace('_', '-')}: {why}")


def released_of(options: Options) -> Released | None:
    """Say how the score beside the usual one counts, if one is asked for."""
    if options.as_released is None:
        return None
    return Released(options.as_released, options.released_threshold, options.released_border)


def protocol_of(options: Options) -> Protocol:
    """Say how this test asks, for the searches that choose its settings."""
    return Protocol(options.support_patients, options.largest_component, options.within)


def measuring_of(options: Options) -> Measuring:
    """Say how this test measures."""
    return Measuring(options.convention, options.tolerance)
