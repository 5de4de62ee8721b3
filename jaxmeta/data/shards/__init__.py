"""Volumes as slices that load fast."""
