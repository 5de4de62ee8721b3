"""One file or folder a method: what it is to the commands, and what its released code does."""
