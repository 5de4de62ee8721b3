"""Networks of Segment Anything small enough to compile in seconds, for its tests."""

import json
from pathlib import Path

import numpy as np
import pytest

from jaxmeta.models.sam import Size

# Windows of 3 on a grid of 4: padded, as 14 on 64 are.
SMALL = Size(8, 2, 2, (1,), image=16, patch=4, window=3, features=16, hidden=12)
GOLDEN = Path(__file__).resolve().parents[3] / "shared" / "golden"


def golden(name: str) -> Path:
    """Find a file of reference values; skip where developers keep none."""
    if not (GOLDEN / name).is_file():
        pytest.skip(f"no reference values at {GOLDEN / name}")
    return GOLDEN / name


def reference() -> tuple[Size, dict[str, np.ndarray]]:
    """Read a small network with random weights and what the published code makes of it."""
    values = dict(np.load(golden("sam_tiny.npz")))
    c = json.loads(str(values["config"]))
    whole = tuple(c["global_attn_indexes"])
    rest = [c[k] for k in ("image_size", "patch_size", "window_size", "prompt_dim")]
    size = Size(c["embed_dim"], c["depth"], c["num_heads"], whole, *rest, c["decoder_mlp_dim"])
    return size, values
