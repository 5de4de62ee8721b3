"""A run: how it is configured, built, trained, kept and opened."""
