"""What each part takes, in time and memory; `experiments.benchmark` is the command."""
