"""The commands, and in folders what they are made of: the only place with effects."""
