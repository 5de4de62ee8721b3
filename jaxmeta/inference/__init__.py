"""One's own volumes: from file to mask."""

from jaxmeta.inference.segment import Volume, segment

__all__ = ["Volume", "segment"]
