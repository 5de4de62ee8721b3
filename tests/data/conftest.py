"""Two small data sets for the tests of preparation."""

from pathlib import Path

import pytest

from tests.helpers.scans import anatomy, decathlon


@pytest.fixture(scope="session")
def cohort(tmp_path_factory) -> list[Path]:
    """Two data sets of several cases."""
    root = tmp_path_factory.mktemp("cohort")
    belly = decathlon(root / "belly", 5)
    heart = {f"p{n // 2}_frame{n % 2}": anatomy(seed=9 + n, values=(1,)) for n in range(4)}
    return [belly, decathlon(root / "heart", heart, names=("liver",), modality="CT")]
