"""What a run is: one typed configuration, of shared groups of options and the method's own."""

from pathlib import Path
from typing import Annotated, Any, Literal, Union

import tyro

from jaxmeta.augmentation.augment import Augmentation
from jaxmeta.data.released import ReleasedSlices
from jaxmeta.files import Place, plain
from jaxmeta.methods import ALL, method_of, networks
from jaxmeta.methods.maml import MetaSgd
from jaxmeta.methods.networks.unet import Unet
from jaxmeta.methods.options import (
    Chunks,
    Episodes,
    Loss,
    Outer,
    OwnLoss,
    SetLoss,
    SliceLoss,
    Volumes,
)
from jaxmeta.options import options, path_or_none

TrainingLeak = Literal["target-labels", "shared-patients", "organs", "patients", "contents"]
AnyLeak = Literal[TrainingLeak, "settings", "data"]

Options = Union[tuple(each.options for each in ALL)]  # noqa: UP007 - of a list
NetworkOptions = Union[tuple(each.options for each in networks.ALL)]  # noqa: UP007
TaskOptions = Episodes | Volumes | Chunks
# How the members of each union are called in config.json, under "type".
TYPES: dict[str, dict[str, type]] = {
    "method": {each.name: each.options for each in ALL},
    "tasks": {"episodes": Episodes, "volumes": Volumes, "chunks": Chunks},
    "network": {each.name: each.options for each in networks.ALL},
    "loss": {"set": SetLoss, "slice": SliceLoss, "own": OwnLoss},
}


# Who looks on or helps; of no influence on what is learned.
LOOKING_ON = ("workdir", "track", "distributed", "feature_cache", "test_each")


@options
class Config:
    """Everything that repeats a run; the resolved form stands in its `config.json`."""

    data: tuple[Place, ...] = ()
    """Folders of shards, here or at gs://; without any, phantoms are made."""
    workdir: Literal["auto"] | Path = "auto"
    """The run's folder; auto: one named after the preset and the seed under `runs/`."""
    test_organs: tuple[str, ...] = ()
    """Organs to be tested on: never trained on, and their patients never seen."""
    val_organs: tuple[str, ...] = ()
    """Organs that choose the checkpoint: never trained on."""
    train_organs: tuple[str, ...] = ()
    """Organs to learn from; without any, all that are not held out."""
    test_patients: tuple[str, ...] = ()
    """Patients held out. none: in a data set that has test organs and others half of those who show
    a test organ, at random; where all organs are tested, everybody."""
    organ: str = ""
    """The one organ that is learned from labelled patients and asked of others (supervised,
    mlb-seg)."""
    labelled: tuple[str, ...] = ()
    """Patients whose labels of it are given (supervised, mlb-seg): names, a file with a name a
    line, a count, a share, or a published list (la-4, la-8, la-16, promise12); --test-patients is
    told alike."""
    unlabelled: tuple[str, ...] = ()
    """Patients of whom only voxels are used; without any, everybody else."""
    protocol: Literal["few-shot", "alpnet", "alpnet-legacy"] = "few-shot"
    """How patients are split, and how the run is tested. few-shot: test patients as above. alpnet:
    5 folds of Ouyang et al. (SSL-ALPNet), whose support are three slices of one patient.
    alpnet-legacy: the same as later papers have it: setting 2 drops only the slices that show all
    test organs."""
    fold: int = 0
    """Which fold of alpnet, from 0."""
    setting: Literal[1, 2] = 1
    """Of alpnet. 1: slices of the training patients that show test organs are trained on, without
    their labels; 2: they are not."""
    allow_leak: tuple[TrainingLeak, ...] = ()
    """Data leaks to accept, each named with every score of the run. target-labels lets
    --method.task-weights.rule target see labels of the organs under test; shared-patients tests on
    slices of the support patients, as the code released with MetaMedSeg does; organs, patients and
    contents (the same voxels under another name) let what is held out be trained on, by this run or
    what it begins with."""
    init_from: Literal["random"] | Path = "random"
    """A run whose weights this one starts from; a head of another number of outputs starts at
    random. sam and ssm-sam take a run of sam or a folder of converted weights. random: freshly
    initialized weights."""
    feature_cache: Literal["off"] | Path = "off"
    """A folder for the features of the encoder's blocks before the first adapter, so that each
    slice passes them once (ssm-sam); it needs slices that are not augmented. With adapters in
    every block that saves little: see --method.last-blocks."""
    steps: int = 800
    """Training steps."""
    checkpoint_every: int = 200
    """Steps between checkpoints, each with a validation."""
    seed: int = 0
    """Seed of everything that is drawn: split, weights, tasks."""
    validation_tasks: int = 12
    """Fixed tasks on validation organs that score a checkpoint."""
    track: tuple[Literal["tensorboard", "wandb"], ...] = ()
    """Where the metrics go beside `metrics.jsonl`: files in the run's folder for TensorBoard,
    Weights & Biases, or both; each needs the optional extra of its name."""
    test_each: bool = False
    """Ask the test patients too at each checkpoint of a command (supervised, mlb-seg): the report
    then has the best of them beside the last, as papers report it that chose on the test. Nothing
    here is chosen by it."""
    own_network: str = ""
    """A network of your own, as MODULE:FUNCTION, for instance my_package.nets:tiny: called with the
    number of outputs it returns a jaxmeta.models.Model, and takes the place of `network`. Imported
    from the working directory, at every use of the run."""
    method: Options = MetaSgd()
    tasks: TaskOptions = Episodes()
    network: NetworkOptions = Unet()
    loss: Loss = SetLoss()
    outer: Outer = Outer()
    augment: Augmentation = Augmentation(invert=0.5)
    released: ReleasedSlices = ReleasedSlices()
    distributed: bool = False
    """This is one of several processes, started by Slurm, Open MPI or on a TPU pod, that train one
    run on all their devices."""
    structures: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """What training draws, as data set/organ: filled in by the run."""
    axis: Annotated[str, tyro.conf.Suppress] = "acquired"
    """By which rule volumes are cut into slices: filled in by the run."""
    planes: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """The planes that slices are nearest to that the run learns from: filled in by the run."""
    frames: Annotated[tuple[str, ...], tyro.conf.Suppress] = ()
    """For each data set that it learns from the directions in space along which its slices, rows
    and columns run: filled in by the run."""
    modality: Annotated[Literal["", "ct", "mr"], tyro.conf.Suppress] = ""
    """What all scans are that the run learns from, if they are one: filled in by the run."""
    channel: Annotated[str, tyro.conf.Suppress] = ""
    """The channel that they all are of files that hold several, if it is one: filled in by the
    run."""
    pixels: Annotated[tuple[float, ...], tyro.conf.Suppress] = ()
    """The least and the largest mm of a pixel, as the network saw the scans that the run learned
    from: filled in by the run."""

    @property
    def origin(self) -> Path | None:
        """Give the run or the weights that this one begins with; None for random ones."""
        return path_or_none(self.init_from)

    @property
    def algorithm(self) -> str:
        """Give the name of the method: in reports that of the algorithm, for each has one."""
        return method_of(self.method).name


def to_json(config: Config) -> dict[str, Any]:
    """Write a configuration as JSON has it: of each union, its member's name under "type" too."""
    values = plain(config)
    for field, types in TYPES.items():
        kinds = {of: name for name, of in types.items()}
        values[field] = {"type": kinds[type(getattr(config, field))]} | values[field]
    return values
