"""The commands, as functions: options, what is printed, exit codes."""
