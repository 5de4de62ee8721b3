"""Losses of a segmentation, and scores that cost as little."""
