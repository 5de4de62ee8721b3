"""Strictness for every test: four virtual devices, no silent rank promotion, full matmul
precision."""

import gc
import os
import re
import tempfile
from collections import Counter
from functools import cache
from pathlib import Path

# Compiling is what these tests cost: leave LLVM's optimization out, do not split small programs for
# many cores, and up to JAX 0.10 leave out the emitters of fused loops that take twice as long as
# those before them (later versions know only one kind).
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0 "
    "--xla_cpu_parallel_codegen_split_count=1 "
    "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
)

import hypothesis
import jax
import pytest
from xdist.scheduler import LoadScopeScheduling

import tests.helpers.typed  # noqa: F401  (the check of types is looked up, not imported)
from jaxmeta.parallel import devices

devices.EFFORT = 0  # what a command runs says by itself how hard LLVM tries
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_numpy_rank_promotion", "raise")
jax.config.update("jax_default_matmul_precision", "highest")
jax.config.update(
    "jax_compilation_cache_dir",
    os.environ.get("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "jaxmeta-tests")),
)


# How long an example takes is the machine's affair, and no test's.
hypothesis.settings.register_profile("untimed", hypothesis.settings(), deadline=None)
hypothesis.settings.load_profile("untimed")

pytest_plugins = ["tests.helpers.fixtures"]


THE_RUN = "of the trained run"
# What takes longest begins first, or one process would work on alone at the end.
LONGEST = (
    "tests/test_phantom_gates.py",
    "tests/runs/test_ssm_sam_runs.py",
    THE_RUN,
    "tests/algorithms/test_conformance.py",
    "tests/algorithms/test_ssm_sam_on_its_network.py",
    "tests/models/ssm_sam/test_ssm_sam_network.py",
    "tests/experiments/test_benchmarks.py",
)


class Together(LoadScopeScheduling):
    """Keep a file's tests in one process, for they share what they compile; and all that ask for
    the run that is trained once."""

    def _split_scope(self, nodeid: str) -> str:
        return scope(self.config.rootpath, nodeid.partition("::")[0])


def scope(root: Path, file: str) -> str:
    """Name what a file's tests are kept together with."""
    return THE_RUN if asks_for_the_run(root / file) else file


@cache
def asks_for_the_run(file: Path) -> bool:
    """Say whether a test or fixture of a file takes `run` (of `helpers/fixtures.py`), and the file
    makes none of its own."""
    text = file.read_text(encoding="utf-8")
    asks = re.search(r"^def \w+\([^)]*\brun\b", text, re.M)
    return bool(asks) and not re.search(r"^def run\(", text, re.M)


def pytest_collection_modifyitems(config, items):
    """Begin with what takes longest, then with what has most tests."""
    scopes = {item: scope(config.rootpath, item.nodeid.partition("::")[0]) for item in items}
    counts = Counter(scopes.values())

    def place(item):
        at = scopes[item]
        known = LONGEST.index(at) if at in LONGEST else len(LONGEST)
        return known, -counts[at], at

    items.sort(key=place)


def pytest_xdist_make_scheduler(config, log):
    config.option.loadscopereorder = False  # which would put many tests before long ones
    return Together(config, log)


def pytest_collection_finish():
    """Tracing makes many objects that die at once: look for cycles among the young, and rarely."""
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)


@pytest.fixture
def x64():
    """Run one test in float64 (`jax.enable_x64` is not in every supported version)."""
    jax.config.update("jax_enable_x64", True)
    yield
    jax.config.update("jax_enable_x64", False)


@pytest.fixture(scope="session")
def scans() -> Path:
    """The folder of real scans that developers keep beside the checkout; skips where there is
    none."""
    folder = Path(__file__).resolve().parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real scans at {folder}")
    return folder
