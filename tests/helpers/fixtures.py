"""What the tests of several folders share: two small data sets, their shards, and a run on them of
four meta-steps of a very small network."""

from pathlib import Path

import pytest

from jaxmeta.augmentation.augment import Augmentation
from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import Shards, open_shards
from jaxmeta.methods.maml import MetaSgd
from jaxmeta.methods.networks.unet import Unet
from jaxmeta.methods.options import Episodes
from jaxmeta.runs.config import Config
from jaxmeta.runs.train import meta_train
from tests.helpers.cohorts import write_scans
from tests.helpers.leaking import ORGANS, Study, belly, configured, left_by, write


@pytest.fixture(scope="session")
def scanned(tmp_path_factory) -> Path:
    """Belly (liver, kidney, spleen; 6 patients) and chest (heart, lung; 4 patients), as NIfTI."""
    root = tmp_path_factory.mktemp("scanned")
    write_scans(root / "belly", ["liver", "kidney", "spleen"], 6, 0)
    write_scans(root / "chest", ["heart", "lung"], 4, 1)
    prepare([root / "belly", root / "chest"], root / "shards", size=16, workers=1)
    return root


@pytest.fixture(scope="session")
def shards(scanned) -> Shards:
    return open_shards([scanned / "shards"])


@pytest.fixture(scope="session")
def config(scanned) -> Config:
    return Config(
        data=(scanned / "shards",),
        workdir=scanned / "runs" / "small",
        test_organs=("spleen",),
        val_organs=("heart",),
        steps=4,
        checkpoint_every=2,
        validation_tasks=2,
        tasks=Episodes(size=16, spacing=0.0, shots=2, queries=2, batch_size=2),
        network=Unet(widths=(4,), groups=2),
        method=MetaSgd(steps=1, test_steps=2),
        augment=Augmentation(invert=0.5),
    )


@pytest.fixture(scope="session")
def run(config) -> Path:
    """Train, and return the run's folder."""
    assert meta_train(config)
    return config.workdir


@pytest.fixture(scope="session")
def study(tmp_path_factory) -> Study:
    """A run, without training, that holds out spleens and two of four patients."""
    root = tmp_path_factory.mktemp("leaks")
    data = write(root, belly=(belly(), ORGANS))
    return Study(data, left_by(configured(data, root / "run")))
