"""Slice shards to few-shot tasks: NumPy only, but for the loader, which is the border to JAX."""
