"""Runs on slices as released codes have them, for comparison only: what they are, and cannot do."""

from pathlib import Path

from jaxmeta.data.released import AS_UINT8
from jaxmeta.data.scan import SlicePreprocessing
from jaxmeta.errors import BadInput
from jaxmeta.runs.config import Config


def preprocessing_of(config: Config) -> SlicePreprocessing:
    """Choose how slices become what the network of a run sees."""
    return AS_UINT8 if config.as_uint8 else SlicePreprocessing()


def refuse_tiny(config: Config) -> None:
    """Refuse pictures where the network to begin with is trained here, on intensities."""
    if config.as_uint8:
        raise BadInput("`as_uint8` needs `init_from`: sam-tiny learns from intensities")


def refuse_predicting(run: Path | None, config: Config) -> None:
    """Refuse to predict by what compares with a released code alone."""
    if config.as_uint8:
        raise BadInput(
            f"{run} learned from slices as pictures (`as_uint8`), which is for "
            "comparison alone: train a run without it to predict"
        )
