"""Real shards for the tests of tasks: two small data sets, written as NIfTI and prepared once."""

import pytest

from jaxmeta.data.shards.prepare import prepare
from jaxmeta.data.shards.shards import Shards, open_shards
from tests.helpers.cohorts import write_scans


@pytest.fixture(scope="session")
def shards(tmp_path_factory) -> Shards:
    """Belly (liver, kidney, spleen; 6 patients) and chest (heart, lung; 4 patients)."""
    root = tmp_path_factory.mktemp("scans")
    cohort = {"belly": (["liver", "kidney", "spleen"], 6), "chest": (["heart", "lung"], 4)}
    for seed, (name, (organs, patients)) in enumerate(cohort.items()):
        write_scans(root / name, organs, patients, seed)
    prepare([root / name for name in cohort], root / "shards", size=16, workers=1)
    return open_shards([root / "shards"])
