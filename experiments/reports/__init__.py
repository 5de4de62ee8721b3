"""What is written of tests: of one run, of several, of folds, of a contest of methods."""
