"""One's own volumes: from file to mask."""
