"""Data sets that need no scanner."""
