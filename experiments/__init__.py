"""The commands: thin, and the only place with effects."""
