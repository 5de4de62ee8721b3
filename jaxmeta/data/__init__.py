"""Volumes to slice shards, once, on the host: NumPy only."""
