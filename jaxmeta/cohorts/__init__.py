"""Synthetic cohorts, made on the device: one random anatomy, several subjects, random contrast."""
