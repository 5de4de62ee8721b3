"""Few-shot medical image segmentation by meta-learning, in functional JAX.

The names that a notebook needs are here; each is imported when it is first asked for, so that what
prepares data never waits for JAX.
"""

import importlib
from importlib.metadata import PackageNotFoundError, version

_HOMES = {
    "Examples": "jaxmeta.tasks.task",
    "Task": "jaxmeta.tasks.task",
    "episodic": "jaxmeta.learners.episodic",
    "maml": "jaxmeta.algorithms",
    "open_shards": "jaxmeta.data.shards.shards",
    "reptile": "jaxmeta.algorithms",
    "scratch": "jaxmeta.algorithms",
    "segmentation_loss": "jaxmeta.losses.segmentation",
    "transfer": "jaxmeta.algorithms",
    "unet": "jaxmeta.models",
}
__all__ = list(_HOMES)


def __getattr__(name: str):
    if name == "__version__":
        try:
            return version("jaxmeta")
        except PackageNotFoundError:  # a checkout that nobody installed
            return "0+unknown"
    if name not in _HOMES:
        raise AttributeError(f"module 'jaxmeta' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
