"""What a run's best checkpoint is about is read as Orbax wrote it, by one process or by many."""

import jax.numpy as jnp
import numpy as np
import pytest
from orbax.checkpoint._src.multihost import multihost

from jaxmeta.training import checkpoint

NAN = float("nan")


@pytest.mark.parametrize(
    "scores, best",
    [
        ([None, None], 18),
        ([0.5, None], 9),
        ([0.5, 0.25, 0.75], 27),
        ([0.5, 0.5, None], 18),
        ([NAN, 0.25], 18),
    ],
)
def test_it_is_of_the_step_that_is_loaded_and_no_process_waits_for_another(
    scores, best, tmp_path, monkeypatch
):
    """Of equals the later is kept; an interrupted writer leaves a folder of another name behind."""
    assert checkpoint.about_best(tmp_path / "none") is None
    state, folder = {"a": jnp.zeros(1)}, tmp_path / "checkpoints"
    with checkpoint.open_checkpoints(folder) as checkpoints:
        for step, score in zip((9, 18, 27), scores):
            about = {"signature": f"of {step}"}
            checkpoint.save(checkpoints, step, state, {"b": np.zeros(1)}, score, about)
    (folder / "36.orbax-checkpoint-tmp").mkdir()
    assert checkpoint.load_best(folder, state)[0] == best

    def waits(*told, **how):
        raise AssertionError("one process alone asks")

    monkeypatch.setattr(multihost, "sync_global_processes", waits)
    assert checkpoint.about_best(folder) == (best, {"signature": f"of {best}"})
