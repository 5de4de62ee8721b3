"""Configurations by name: what `meta_train PRESET` begins with."""

import dataclasses

from jaxmeta.augmentation.augment import Augmentation
from jaxmeta.runs.config import (
    INNER,
    Algorithm,
    Config,
    Loss,
    Network,
    Outer,
    Prompted,
    Tasks,
    TaskWeights,
)
from jaxmeta.splits.decathlon import TARGETS as DECATHLON_TARGETS

STILL = Augmentation(flip=0.0, rotate=0.0, zoom=0.0, shift=0.0, gain=0.0, offset=0.0, noise=0.0)
# Beta of MetaMedSeg; as Reptile it moves without an optimizer's memory.
MOVE = Outer(optimizer="sgd", schedule="constant", rate=0.01, warmup=0.0, clip=0.0)
# Of plain pre-training, chosen on validation organs, see RESULTS.md.
TRANSFER_RATES = {"unet": 6e-3, "instance-unet": 2e-2, "own": 6e-3}
OWN_NETWORK = Network(kind="own", widths=None, groups=None, prior=None)
PAPER_NETWORK = Network(kind="instance-unet", widths=(32, 64, 128), groups=None, prior=None)
IOU = Loss(cross_entropy=None, dice=None, of_slice="iou")
OWN_LOSS = Loss(cross_entropy=None, dice=None)
TINY = Network(kind="sam-tiny", widths=None, groups=None, prior=None)
# Without warps, which cost as much as a step of so small a network.
QUICK = Augmentation(rotate=0.0, zoom=0.0, shift=0.0)
PROMPTED_OWN = {
    "sam": dict(
        network=TINY,
        loss=OWN_LOSS,
        tasks=Tasks(size=256, shots=3, queries=3, negative_fraction=0.0, batch_size=2),
        outer=Outer(rate=5e-4, clip=1.0, weight_decay=0.05),
        augment=QUICK,
        steps=600,
    ),
    "ssm-sam": dict(
        network=dataclasses.replace(TINY, adapter="high-pass"),
        # Chosen on validation organs; the paper's rates move so small a network nowhere.
        inner=dataclasses.replace(INNER["ssm-sam"], rate=0.1, test_rate=3e-3, test_steps=40),
        loss=OWN_LOSS,
        tasks=Tasks(kind="chunks", width=3, stride=1, size=256, shots=3, queries=2, batch_size=3),
        outer=Outer(rate=1e-3, clip=1.0, weight_decay=0.01),
        augment=QUICK,
        steps=60,
        checkpoint_every=20,
        validation_tasks=12,
    ),
}


def with_algorithm(config: Config, algorithm: Algorithm) -> Config:
    """Take another algorithm, and begin with its own settings."""
    if (
        config.algorithm in PROMPTED_OWN and algorithm != config.algorithm
    ):  # of whose parts little is anyone's
        usual = Config()
        names = ("tasks", "network", "outer", "prompted", "loss", "augment")
        config = dataclasses.replace(config, **{name: getattr(usual, name) for name in names})
    rate = TRANSFER_RATES.get(config.network.kind)
    own = {"transfer": {"outer": Outer(rate=rate)}, "scratch": {"steps": 0}}
    own["metamedseg"] = {"outer": MOVE}
    own |= PROMPTED_OWN
    if config.algorithm == "metamedseg":  # whose rules nobody else has
        config = dataclasses.replace(config, outer=Outer(), task_weights=TaskWeights())
    own = {"inner": INNER[algorithm]} | own.get(algorithm, {})
    return dataclasses.replace(config, algorithm=algorithm, **own)


METAMEDSEG = dataclasses.replace(
    with_algorithm(Config(), "metamedseg"),  # vol_config2 of the code released with the paper
    tasks=Tasks(kind="volumes", decathlon=True, size=256, shots=20, queries=5, batch_size=8),
    network=PAPER_NETWORK,
    loss=IOU,
    task_weights=TaskWeights("meta", invert=True),
    augment=STILL,
    test_organs=DECATHLON_TARGETS,
    steps=100,
    checkpoint_every=20,
)

SSM_SAM = dataclasses.replace(
    with_algorithm(Config(), "ssm-sam"),
    network=Network(kind="sam", widths=None, groups=None, prior=None, adapter="high-pass"),
    inner=INNER["ssm-sam"],
    tasks=Tasks(
        kind="chunks", width=5, stride=5, size=1024, shots=50, queries=12, batch_size=3, vmap=1
    ),
    outer=Outer(rate=2e-4, warmup=0.0, clip=0.0, weight_decay=0.01),
    augment=STILL,
    steps=200,  # 50 epochs of 12 organs, three a step
    checkpoint_every=20,
)

# Chosen on validation kidneys, see RESULTS.md: few labelled organs, each in few patients.
REAL = dataclasses.replace(
    Config(),
    tasks=Tasks(size=64, shots=5, queries=5),
    inner=dataclasses.replace(
        INNER["meta-sgd"], steps=5, test_steps=40, rate=0.2, decay=1.0, augment=1.0
    ),
    outer=Outer(rate=6e-3, clip=1.0),
    augment=dataclasses.replace(Config().augment, task_rotate=45.0, task_zoom=0.3, task_shift=0.1),
    validation_tasks=24,
)

PRESETS: dict[str, tuple[str, Config]] = {
    "unet-maml": ("U-Net, first-order MAML with learned rates: the default.", Config()),
    "real": (
        "The same for real scans, 64x64: 5 slices a support, other poses, a long walk at test "
        "time.",
        REAL,
    ),
    "transfer": (
        "U-Net pre-trained with one output a source organ, fine-tuned on the support.",
        with_algorithm(Config(), "transfer"),
    ),
    "scratch": ("U-Net trained on the support alone.", with_algorithm(Config(), "scratch")),
    "metamedseg": (
        "MetaMedSeg as published: volumes of the Medical Segmentation Decathlon, inverted weights.",
        METAMEDSEG,
    ),
    "metamedseg-released": (
        "As the code released with the paper: slices as pictures, weights that compound.",
        dataclasses.replace(
            METAMEDSEG,
            tasks=dataclasses.replace(METAMEDSEG.tasks, as_uint8=True),
            task_weights=dataclasses.replace(METAMEDSEG.task_weights, compounding=True),
        ),
    ),
    "sam-tiny": (
        "Segment Anything at 4 million parameters: learns to segment what is clicked or boxed.",
        with_algorithm(Config(), "sam"),
    ),
    "ssm-sam-tiny": (
        "SSM-SAM on sam-tiny, which it trains first unless --init-from names one.",
        with_algorithm(Config(), "ssm-sam"),
    ),
    "ssm-sam": (
        "SSM-SAM as published, on converted weights (--init-from): chunks of 5 for CT; for MR see "
        "README.",
        SSM_SAM,
    ),
    "ssm-sam-released": (
        "As the code released with the paper: no mask attention, points transposed, tokens mixed.",
        dataclasses.replace(
            SSM_SAM,
            tasks=dataclasses.replace(SSM_SAM.tasks, across=True, as_uint8=True, least_pixels=27),
            prompted=Prompted(
                prompt="clicks",
                attends=False,
                period=20,
                copies=4,  # of a chunk's queries; MR has 2
                mixed_tokens=True,
                transposed_points=True,
                raw_colors=True,
            ),
        ),
    ),
    "metamedseg-small": (
        "MetaMedSeg at a scale that a laptop finishes: 64x64, 3 tasks, 3 epochs, 12 slices.",
        dataclasses.replace(
            METAMEDSEG,
            tasks=Tasks(kind="volumes", size=64, shots=12, queries=5, batch_size=3),
            inner=dataclasses.replace(METAMEDSEG.inner, steps=3),
            outer=dataclasses.replace(MOVE, rate=0.1),  # see RESULTS.md
            test_organs=(),
            steps=50,
            checkpoint_every=25,
        ),
    ),
}
