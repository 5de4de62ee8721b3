"""Runs as training leaves them, without any training: for the tests of what must not leak.

A run is its folder - config.json, provenance.json and a checkpoint of nothing - on shards of a few
small scans.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxmeta.augmentation.augment import Augmentation
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.evaluation.test_plan import Options, plan_test
from jaxmeta.methods.maml import MetaSgd
from jaxmeta.methods.networks.unet import Unet
from jaxmeta.methods.options import Episodes
from jaxmeta.runs import config_file, signature
from jaxmeta.runs.claim import claim
from jaxmeta.runs.config import Config
from jaxmeta.runs.run import Run
from jaxmeta.runs.setup import gather
from jaxmeta.training import checkpoint
from tests.helpers.scans import anatomy, decathlon

ORGANS = ("liver", "kidney", "spleen")
TESTED = ("belly/case2", "belly/case3")


def scan(seed: int):
    return anatomy(values=(1, 2, 3), seed=seed)


def belly(*seeds):
    return {f"case{n}": scan(seed) for n, seed in enumerate(seeds or range(4))}


def only(cases, value):
    """Label one structure alone, as value 1."""
    return {
        name: (image, (label == value).astype(np.uint8)) for name, (image, label) in cases.items()
    }


def write(root: Path, where: str = "shards", /, how: dict | None = None, **datasets) -> Path:
    """Write data sets and prepare them together: each is (cases, names)."""
    folders = []
    for name, (cases, names) in datasets.items():
        folders.append(decathlon(root / where / "nifti" / name, cases, names=names))
    prepare(folders, root / where / "out", size=16, workers=1, **(how or {}))
    return root / where / "out"


def configured(data: Path, workdir: Path, **changes) -> Config:
    usual = dict(
        data=(data,),
        workdir=workdir,
        test_organs=("spleen",),
        val_organs=("kidney",),
        test_patients=TESTED,
        steps=0,
        tasks=Episodes(size=16, spacing=0.0, shots=1, queries=1, batch_size=1),
        network=Unet(widths=(4,), groups=2),
        method=MetaSgd(steps=1, test_steps=2),
        augment=Augmentation(invert=0.5),
    )
    return Config(**(usual | changes))


def left_by(config: Config, step: int = 1) -> Run:
    """Leave in a run's folder what its training would, but for the network."""
    given = gather(config)
    about = claim(given)
    with checkpoint.open_checkpoints(config.workdir / "checkpoints") as checkpoints:
        checkpoint.save(checkpoints, step, {"a": np.zeros(1)}, {"b": np.zeros(1)}, None, about)
    return opened(config.workdir, step)


def opened(folder: Path, step: int = 1) -> Run:
    """Open a run as `open_run` does, but for its network."""
    signature.refuse_edited(folder)
    return Run(folder, *config_file.read_run(folder), None, step, signature.provenance_of(folder))


class Study(NamedTuple):
    """A prepared data set, and a run on it that holds out spleens and two of four patients."""

    data: Path
    run: Run

    @property
    def folder(self) -> Path:
        return self.run.folder


def copied(study: Study, root: Path) -> Path:
    return Path(shutil.copytree(study.folder, root / "copy"))


def asked(run: Run, data: Path | None = None, **options):
    given = {"shots": (1,), "support_sets": 1, "data": (data,) if data else ()}
    return plan_test(run, Options(run=(), **(given | options)))
