"""Configurations by name: what `meta_train PRESET` begins with."""

import dataclasses
from typing import Any, NamedTuple

from jaxmeta.augmentation.augment import Augmentation, upright
from jaxmeta.data.released import ReleasedSlices
from jaxmeta.methods import ALL, supervised
from jaxmeta.methods.in_context import InContext
from jaxmeta.methods.maml import MetaSgd
from jaxmeta.methods.metamedseg.method import MetaMedSeg, TaskWeights
from jaxmeta.methods.metamedseg.released import Released as Compounding
from jaxmeta.methods.method import Method
from jaxmeta.methods.mlb_seg.method import MlbSeg
from jaxmeta.methods.mlb_seg.released import Released as ReleasedBootstrapping
from jaxmeta.methods.networks import network_of
from jaxmeta.methods.networks.instance_unet import InstanceUnet
from jaxmeta.methods.networks.low_rank_sam import LowRankSam
from jaxmeta.methods.networks.segment_anything import Sam, SamTiny
from jaxmeta.methods.networks.unet import Unet
from jaxmeta.methods.networks.unet_plus_plus import UnetPlusPlus
from jaxmeta.methods.options import Chunks, Episodes, Outer, OwnLoss, SliceLoss, Volumes
from jaxmeta.methods.promptable import Promptable
from jaxmeta.methods.ssm_sam.method import SelfSampling
from jaxmeta.methods.ssm_sam.released import Released
from jaxmeta.methods.supervised import Supervised
from jaxmeta.methods.transfer import Scratch, Transfer
from jaxmeta.runs.config import Config
from jaxmeta.splits.decathlon import TARGETS as DECATHLON_TARGETS

DEFAULT_PRESET = "unet-maml"
STILL = Augmentation(flip=0.0, rotate=0.0, zoom=0.0, shift=0.0, gain=0.0, offset=0.0, noise=0.0)
# Beta of MetaMedSeg; as Reptile it moves without an optimizer's memory.
MOVE = Outer(optimizer="sgd", schedule="constant", rate=0.01, warmup=0.0, clip=0.0)
# Without warps, which cost as much as a step of so small a network.
QUICK = Augmentation(rotate=0.0, zoom=0.0, shift=0.0)
PROMPTED = dict(network=SamTiny(), loss=OwnLoss(), augment=QUICK)
USUAL: dict[type, dict[str, Any]] = {  # what comes with a method's options, beside them
    MetaMedSeg: dict(outer=MOVE),
    Scratch: dict(steps=0),
    InContext: dict(
        tasks=Episodes(kind="synthetic", shots=5, queries=5),
        outer=Outer(clip=1.0),
        augment=STILL,  # cohorts are made as different as they are to be
        steps=2000,
    ),
    Supervised: supervised.usual(Episodes()),
    MlbSeg: dict(
        tasks=Episodes(shots=2, queries=1, batch_size=1),
        outer=Outer("sgd", "harmonic", rate=5e-3, warmup=0.0, clip=0.2, weight_decay=5e-4),
        loss=OwnLoss(),
        augment=dataclasses.replace(STILL, flip=0.5, rotate=10.0),
    ),
    Promptable: PROMPTED
    | dict(
        tasks=Episodes(size=256, shots=3, queries=3, negative_fraction=0.0, batch_size=2),
        outer=Outer(rate=5e-4, clip=1.0, weight_decay=0.05),
        steps=600,
    ),
    SelfSampling: PROMPTED
    | dict(
        # Chosen on validation organs; the paper's rates move so small a network nowhere.
        method=SelfSampling(rate=0.1, test_rate=3e-3, test_steps=40),
        tasks=Chunks(width=3, stride=1, size=256, shots=3, queries=2, batch_size=3),
        outer=Outer(rate=1e-3, clip=1.0, weight_decay=0.01),
        steps=60,
        checkpoint_every=20,
        validation_tasks=12,
    ),
}


def with_method(config: Config, method: Any) -> Config:
    """Take another method, and what usually comes with its options."""
    if isinstance(config.loss, OwnLoss) and type(method) is not type(config.method):
        usual = Config()  # of whose parts little is anyone's
        names = ("tasks", "network", "outer", "loss", "augment")
        config = dataclasses.replace(config, **{name: getattr(usual, name) for name in names})
    if isinstance(config.method, MetaMedSeg):  # whose outer rule nobody else has
        config = dataclasses.replace(config, outer=Outer())
    own = {"method": method} | USUAL.get(type(method), {})
    if isinstance(method, Transfer) and not isinstance(method, Scratch):
        own["outer"] = Outer(rate=network_of(config).transfer_rate)
    return dataclasses.replace(config, **own)


METAMEDSEG_PRESET = dataclasses.replace(
    with_method(Config(), MetaMedSeg()),  # vol_config2 of the code released with the paper
    method=MetaMedSeg(task_weights=TaskWeights("meta", invert=True)),
    tasks=Volumes(decathlon=True, size=256, shots=20, queries=5, batch_size=8),
    network=InstanceUnet(),
    loss=SliceLoss("iou"),
    augment=STILL,
    test_organs=DECATHLON_TARGETS,
    steps=100,
    checkpoint_every=20,
)
METAMEDSEG_SMALL = dataclasses.replace(
    METAMEDSEG_PRESET,
    method=dataclasses.replace(METAMEDSEG_PRESET.method, steps=3),
    tasks=Volumes(size=64, shots=12, queries=5, batch_size=3),
    outer=dataclasses.replace(MOVE, rate=0.1),  # see RESULTS.md
    test_organs=(),
    steps=50,
    checkpoint_every=25,
)
SSM_SAM_PRESET = dataclasses.replace(
    with_method(Config(), SelfSampling()),
    network=Sam(),
    method=SelfSampling(),
    tasks=Chunks(width=5, stride=5, size=1024, shots=50, queries=12, batch_size=3, vmap=1),
    outer=Outer(rate=2e-4, warmup=0.0, clip=0.0, weight_decay=0.01),
    augment=STILL,
    steps=200,  # 50 epochs of 12 organs, three a step
    checkpoint_every=20,
)
MLB_SEG_PRESET = dataclasses.replace(
    with_method(Config(), MlbSeg()),
    tasks=Episodes(size=144, shots=2, queries=1, batch_size=1),
    network=UnetPlusPlus(),
    steps=120_000,  # 120 epochs of the 1000 slices of PROMISE12 that are not labelled
    checkpoint_every=5_000,
)
MLB_SEG_SMALL = dataclasses.replace(
    MLB_SEG_PRESET,
    method=MlbSeg(stride=3, mirrors=False),
    tasks=Episodes(size=64, shots=2, queries=2, batch_size=1),
    network=Unet(),
    augment=upright(Augmentation()),
    steps=600,
    checkpoint_every=200,
)
MLB_SEG_SAM = dataclasses.replace(
    MLB_SEG_SMALL,
    method=MlbSeg(stride=3, mirrors=False, stage_1="clean-steps"),
    tasks=Episodes(size=256, shots=2, queries=1, batch_size=1),
    network=LowRankSam(),
)
# Chosen on validation kidneys, see RESULTS.md: few labelled organs, each in few patients.
REAL = dataclasses.replace(
    Config(),
    tasks=Episodes(size=64, shots=5, queries=5),
    method=MetaSgd(steps=5, test_steps=40, rate=0.2, decay=1.0, augment=1.0),
    outer=Outer(rate=6e-3, clip=1.0),
    augment=dataclasses.replace(Config().augment, task_rotate=45.0, task_zoom=0.3, task_shift=0.1),
    validation_tasks=24,
)


class Preset(NamedTuple):
    """What a name stands for, and what its training takes on a CPU."""

    text: str
    config: Config
    minutes: str = "?"
    memory: str = "?"


def of_method(method: Method) -> Preset:
    """Make the preset of a method on the default network and tasks."""
    text = method.options.__doc__.splitlines()[0]
    return Preset(text, with_method(Config(), method.options()))


NAMED: dict[str, Preset] = {
    DEFAULT_PRESET: Preset("U-Net, first-order MAML with learned rates: the default.", Config()),
    "real": Preset(
        "The same for real scans, 64x64: 5 slices a support, other poses, more steps at test time.",
        REAL,
    ),
    "metamedseg": Preset(
        "MetaMedSeg as published: volumes of the Medical Segmentation Decathlon, inverted weights.",
        METAMEDSEG_PRESET,
    ),
    "metamedseg-released": Preset(
        "As the code released with the paper: slices as pictures, weights that compound.",
        dataclasses.replace(
            METAMEDSEG_PRESET,
            released=ReleasedSlices(as_uint8=True),
            method=MetaMedSeg(
                task_weights=TaskWeights("meta", invert=True),
                released=Compounding(compounding=True),
            ),
        ),
    ),
    "metamedseg-small": Preset(
        "MetaMedSeg at a scale that a laptop finishes: 64x64, 3 tasks, 3 epochs, 12 slices.",
        METAMEDSEG_SMALL,
    ),
    "metamedseg-small-transfer": Preset(
        "Transfer learning on the tasks and with the network of metamedseg-small.",
        with_method(METAMEDSEG_SMALL, Transfer()),
    ),
    "mlb-seg": Preset(
        "MLB-Seg at its published size, UNet++ at 144x144: few labelled patients, many unlabelled.",
        MLB_SEG_PRESET,
    ),
    "mlb-seg-sam": Preset(
        "MLB-Seg on a Segment Anything that `init_from` names, by low-rank adapters.",
        MLB_SEG_SAM,
    ),
    "mlb-seg-released": Preset(
        "As the code released with the paper: BatchNorm, zeros at borders, the teacher begun anew.",
        dataclasses.replace(
            MLB_SEG_PRESET,
            method=MlbSeg(
                stage_1="clean-steps",
                released=ReleasedBootstrapping(
                    zero_borders=True, teacher_resets=True, dilated_masks=True
                ),
            ),
            network=UnetPlusPlus(groups=0),
        ),
    ),
    "mlb-seg-small": Preset(
        "MLB-Seg at a scale that a laptop finishes: U-Net, 64x64, every third slice.",
        MLB_SEG_SMALL,
    ),
    "sam-tiny": Preset(
        "Segment Anything at 4 million parameters: learns to segment what is clicked or boxed.",
        with_method(Config(), Promptable()),
    ),
    "ssm-sam-tiny": Preset(
        "SSM-SAM on sam-tiny, which it trains first unless `init_from` names one.",
        with_method(Config(), SelfSampling()),
    ),
    "ssm-sam": Preset(
        "SSM-SAM as published, on converted weights (`init_from`): chunks of 5 for CT; for MR see "
        "docs/how-to/segment-anything.md.",
        SSM_SAM_PRESET,
    ),
    "ssm-sam-released": Preset(
        "As the code released with the paper: no mask attention, points transposed, tokens mixed.",
        dataclasses.replace(
            SSM_SAM_PRESET,
            released=ReleasedSlices(as_uint8=True),
            tasks=dataclasses.replace(SSM_SAM_PRESET.tasks, least_pixels=27),
            method=SelfSampling(
                prompt="clicks",
                attends=False,
                period=20,
                released=Released(
                    mixed_tokens=True,
                    transposed_points=True,
                    raw_colors=True,
                    across=True,
                    copies=4,  # of a chunk's queries; MR has 2
                ),
            ),
        ),
    ),
}
RENAMED = {type(NAMED[name].config.method) for name in (DEFAULT_PRESET, "sam-tiny")}
# Minutes and memory of a training on two cores ("*": on one), on phantoms of 48 pixels unless the
# preset has a size of its own (BENCHMARKS.md); "?" is not measured.
TAKES = {
    DEFAULT_PRESET: ("4", "1.4 GiB"),
    "real": ("20*", "1.4 GiB"),
    "maml": ("12", "1.7 GiB"),
    "fomaml": ("4", "1.2 GiB"),
    "anil": ("3", "1.2 GiB"),
    "maml++": ("7", "1.5 GiB"),
    "reptile": ("4", "1.2 GiB"),
    "imaml": ("10", "1.6 GiB"),
    "prototypes": ("3", "1.1 GiB"),
    "transfer": ("3*", "1.2 GiB"),
    "scratch": ("0", "0.8 GiB"),
    "metamedseg-small": ("8*", "1.0 GiB"),
    "sam-tiny": ("20*", "2.9 GiB"),
    "ssm-sam-tiny": ("10", "2.4 GiB"),
}
EACH = (
    {name: NAMED[name] for name in (DEFAULT_PRESET, "real")}
    | {each.name: of_method(each) for each in ALL if each.options not in RENAMED}
    | NAMED
)
PRESETS = {
    name: Preset(each.text, each.config, *TAKES.get(name, ())) for name, each in EACH.items()
}
