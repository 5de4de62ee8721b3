"""The trainer, its checkpoints and its logs."""
