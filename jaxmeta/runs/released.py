"""Runs on slices as released codes have them, for comparison only: what they are, and cannot do."""

from pathlib import Path

from jaxmeta.errors import BadInput
from jaxmeta.runs.config import Config


def refuse_tiny(config: Config) -> None:
    """Refuse pictures where the network to begin with is trained here, on intensities."""
    if config.released.as_uint8:
        raise BadInput("`released.as_uint8` needs `init_from`: sam-tiny learns from intensities")


def refuse_predicting(run: Path | None, config: Config) -> None:
    """Refuse to predict by what compares with a released code alone."""
    if config.released.as_uint8:
        raise BadInput(
            f"{run} learned from slices as pictures (`released.as_uint8`), which is for "
            "comparison alone: train a run without it to predict"
        )
