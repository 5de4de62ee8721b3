"""Masks without training: a few labelled slices are the atlas. Read `segment.py` first."""

from jaxmeta.atlas.segment import Atlas, Evidence, Rule, evidence, segment

__all__ = ["Atlas", "Evidence", "Rule", "evidence", "segment"]
