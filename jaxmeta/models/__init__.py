"""Pairs of pure functions that segment images; they know no tasks."""
