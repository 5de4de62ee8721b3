"""What a test asks of a run: its options, and the questions that come of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from experiments.build import eligible, open_data
from experiments.by_protocol import protocol_of as by_protocol
from experiments.outcome import Measuring
from experiments.runs import Run
from experiments.tuning import Protocol, validation_trials
from jaxmeta.errors import BadInput
from jaxmeta.tasks.protocols import Protocol as Literature
from jaxmeta.tasks.split import Pool, pool
from jaxmeta.tasks.trial import Trial, trials
from jaxmeta.tasks.trial_of_protocol import trials_of_protocol
from jaxmeta.tasks.trial_of_slices import SEEDS, trials_of_slices

DRAWS = 4


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
    """Labelled slices an adaptation sees; each number makes a table of its own. This and the next two
    are settled by the protocol of a run that was trained by one."""
    support_patients: int = 1
    """Patients whom these slices come from."""
    draws: int | None = None
    """Supports an organ: each from other patients as long as there are any. By default 4; tested on
    slices (--allow-leak shared-patients), as many as the paper's five seeds."""
    baselines: Literal["none", "default", "all"] = "default"
    """none: the adapted method alone; default: zero steps, copied mask, and scratch with the setting
    that an earlier search found or that is shipped; all: transfer too, all tuned on validation
    organs, each with its best setting and with as many steps as the method."""
    tune: bool = False
    """Search the settings anew, although the run has those of an earlier search."""
    only_tune: bool = False
    """Search the settings anew and stop: nothing under test is looked at. For --settings of runs by a
    protocol, which have no validation organs of their own."""
    settings: Path | None = None
    """Another run whose search to take the settings from, instead of searching for each run; a run of
    another algorithm, or trained with other settings, takes those of scratch and transfer, not of the
    method."""
    convention: Literal["default", "monai", "medpy", "deepmind"] = "default"
    """Whose HD95, ASSD and NSD, and whose treatment of empty masks; all but the default are for
    comparison with papers that used these packages."""
    tolerance: float = 2.0
    """Distance in mm within which the surface Dice (NSD) counts a surface as found."""
    steps: tuple[int, ...] = ()
    """Also score the method after these numbers of inner steps, for a curve in the report."""
    upper_bound: bool = False
    """Add the same network trained on all labels of all other patients, from random weights and from
    where the run ended. Tested on slices, on all that may lend."""
    largest_piece: bool = False
    """Keep the largest connected piece of every row's masks: for structures that are one body."""
    transfer: tuple[Path, ...] = ()
    """Runs of the preset transfer, one a run, on the same split; by default two are pre-trained with
    as many slice-gradients, in RUN/transfer as the run was augmented and in RUN/transfer_upright
    without mirror images and other contrasts, and validation organs choose."""
    seed: int = 0
    """Draws the supports."""
    masks: bool = True
    """Write RUN/predictions/*.nii.gz, each volume under the first support it was scored with."""
    output: Path | None = None
    """Where the comparison of several runs goes; by default beside the first run's report."""


class Asked(NamedTuple):
    """What is asked of a run."""

    held_out: Pool
    how: dict  # size, mm and seed: how its slices are read and drawn
    trials: dict[int, tuple[Trial, ...]]  # by shots
    supports: int  # of each trial
    protocol: Literature | None = None


def check(options: Options) -> None:
    """Refuse in one line what no test can be made of."""
    if options.transfer and len(options.transfer) != len(options.run):
        raise BadInput(
            f"{len(options.transfer)} transfer runs for {len(options.run)} runs: name one each"
        )
    if options.tolerance < 0:
        raise BadInput(f"--tolerance {options.tolerance:g}: must be at least 0 mm")
    if min(options.steps, default=0) < 0:
        raise BadInput(f"--steps {' '.join(map(str, options.steps))}: must be at least 0")
    draws = (1 if options.draws is None else options.draws,)
    for name, values in {"--draws": draws, "--shots": options.shots}.items():
        if min(values, default=0) < 1:
            raise BadInput(f"{name} {' '.join(map(str, values))}: must be at least 1")


def questions(run: Run, options: Options) -> Asked:
    """Make what is asked of a run; refuse what cannot be."""
    shards = open_data(run.config, options.data)
    if shards.defaults.axis != run.config.axis:
        raise BadInput(
            f"{run.folder} learned from {run.config.axis} slices, {' '.join(shards.folders)} holds "
            f"{shards.defaults.axis} ones: prepare the data with --axis {run.config.axis}"
        )
    held_out = pool(shards, run.split, "test", organs=options.organs or None)
    how = {"size": run.config.tasks.size, "mm": run.config.tasks.spacing, "seed": options.seed}
    protocol, literature = protocol_of(options), by_protocol(run.config, shards)
    if literature and (options.tune or options.only_tune or options.baselines == "all"):
        raise BadInput(
            f"{run.folder}: protocol {literature.name} has no validation organs to tune on; give --settings "
            "of another run's search, or --baselines default"
        )
    if options.baselines == "all" and not options.settings:
        validation_trials(run, max(options.shots), protocol)
    if literature:
        settled = ("shots", "support_patients", "draws", "organs", "upper_bound")
        refuse_changed(
            options, settled, f"the protocol {literature.name} of {run.folder} settles it"
        )
        size, mm = how["size"], how["mm"]
        made = trials_of_protocol(
            held_out, literature, size=size, mm=mm, largest_piece=options.largest_piece
        )
        return Asked(held_out, how, {1: made}, len(literature.positions), literature)
    if "shared-patients" in run.config.allow_leak:
        settled = ("support_patients", "largest_piece")
        refuse_changed(options, settled, f"{run.folder} is tested on slices (shared-patients)")
        size = dict(size=how["size"], mm=how["mm"])
        counted, draws = eligible(run.config, held_out), options.draws or len(SEEDS)
        made = {
            shots: trials_of_slices(counted, shots=shots, draws=draws, **size)
            for shots in options.shots
        }
        return Asked(held_out, how, made, draws)
    draws = options.draws or DRAWS
    made = {
        shots: trials(held_out, shots=shots, draws=draws, **protocol._asdict(), **how)
        for shots in options.shots
    }
    return Asked(held_out, how, made, draws)


def refuse_changed(options: Options, names: Sequence[str], why: str) -> None:
    """Refuse options that are not as by default."""
    usual = Options(run=())
    for name in names:
        if getattr(options, name) != getattr(usual, name):
            raise BadInput(f"--{name.replace('_', '-')}: {why}")


def protocol_of(options: Options) -> Protocol:
    """Say how this test asks, for the searches that choose its settings."""
    return Protocol(options.support_patients, options.largest_piece)


def measuring_of(options: Options) -> Measuring:
    """Say how this test measures."""
    return Measuring(options.convention, options.tolerance)
