"""Strictness for every test: four virtual devices, no silent rank promotion, full matmul
precision."""

import os
import tempfile
from pathlib import Path

# Compiling is what these tests cost: leave LLVM's optimization out, and up to JAX 0.10 the emitters
# of fused loops that take twice as long as those before them (later versions know only one kind).
# What a command runs (`devices.jit`) says by itself how hard LLVM tries.
os.environ["XLA_FLAGS"] = (
    f"{os.environ.get('XLA_FLAGS', '')} --xla_backend_optimization_level=0 "
    "--xla_backend_extra_options=xla_cpu_disable_new_fusion_emitters"
)

import hypothesis
import jax
import pytest
from xdist.scheduler import LoadScopeScheduling

import tests.helpers.typed  # noqa: F401  (the check of types is looked up, not imported)

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


class Together(LoadScopeScheduling):
    """Keep a file's tests in one process, for they share what they compile; and those of a trained
    run."""

    def _split_scope(self, nodeid: str) -> str:
        file = Path(nodeid.partition("::")[0])
        return str(file.parent if file.parent.name == "experiments" else file)


def pytest_xdist_make_scheduler(config, log):
    return Together(config, log)


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
