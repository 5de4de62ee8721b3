"""What the trainer sees of a method."""
