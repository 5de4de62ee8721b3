"""Masks without training: a few labelled slices are the atlas. Read `segment.py` first."""

from jaxmeta.atlas.segment import Atlas, Rule, segment

__all__ = ["Atlas", "Rule", "segment"]
